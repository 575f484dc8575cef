"""Whose turn it is first: another one each time, so that none is always asked in the same state. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

Cell = TypeVar("Cell")
Way = TypeVar("Way")


def rotated(ways: Sequence[Way], turn: int) -> list[Way]:
    """All of them; another one is first each turn."""
    first = turn % len(ways)
    return [*ways[first:], *ways[:first]]


def in_order(cells: Sequence[Cell], ways: Sequence[Way], turn: int) -> list[tuple[Cell, Way]]:
    """Every cell's ways one after the other; who is first changes with cell and round."""
    return [(cell, way) for place, cell in enumerate(cells) for way in rotated(ways, place + turn)]
