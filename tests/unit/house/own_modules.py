"""This project's own modules, read once for all tests of a process, and not while tests are collected."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from launch.setup.rooms import Module, read_modules

ROOT = Path(__file__).parents[3]


@cache
def own_modules() -> dict[str, Module]:
    """By dotted name."""
    return read_modules(ROOT)
