"""Whose rows a batch holds: looked through once for a step, used by each of its layers."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from typing import Any, TypeAlias

import torch

ROWS_EACH = 12
"""From so many rows an adapter on, each adapter is multiplied by itself. With fewer one product for all is
quicker, though it is of every row with every adapter: of 32 rows and 4 adapters by a third. Where a prompt
makes too many rows of a batch, its own (so many neighbours) are multiplied by themselves; the rest share."""

Rows: TypeAlias = slice | torch.Tensor | None
"""Neighbours as a slice, others by their numbers; None: all of the batch."""


@dataclass(frozen=True)
class Group:
    """The rows of a step that belong to one LoRA slot."""

    slot: int
    rows: Rows
    count: int


@dataclass(frozen=True)
class Step:
    """The rows of a batch that have an adapter."""

    groups: tuple[Group, ...]
    """All of a slot together, by slot; none where no row has one."""
    runs: tuple[Group, ...]
    """Many neighbours of one slot, prompts, where all together are too many for one product."""
    rest: tuple[Group, ...]
    """The other rows by slot: of requests that decode, and of short prompts."""
    slots: tuple[int, ...]
    """Of `rest`."""
    whole: Rows
    """From the first row of `rest` to the last; between them may be rows of the base and of `runs`."""
    thin: bool
    """One product for all of `slots` is quicker than one for each."""
    by_row: torch.Tensor
    """The slot of each row of `whole`, where it is in `rest`."""
    work: dict[Hashable, Any] = field(default_factory=dict)
    """What is found out of this step, kept with it."""

    def mask(self, slots: tuple[int, ...], ranks: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        """One where a row of `whole` is a column's slot's, else zero; each rank is so many columns a slot."""
        key = (slots, ranks, dtype)
        if (known := self.work.get(key)) is None:
            own = self.by_row[:, None] == torch.tensor(slots)
            columns = [own.to(dtype).repeat_interleave(rank, 1) for rank in ranks]
            known = self.work[key] = torch.cat(columns, 1)
        return known

    def scratch(self, name: str, rows: int, columns: int, dtype: torch.dtype) -> torch.Tensor:
        """Room that layers use one after the other."""
        key = (name, rows, columns, dtype)
        if (known := self.work.get(key)) is None:
            known = self.work[key] = torch.empty(rows, columns, dtype=dtype)
        return known


NOBODY = Step((), (), (), (), None, thin=False, by_row=torch.empty(0, dtype=torch.long))


def step_of(slot_of_row: Sequence[int]) -> Step:
    """`slot_of_row` is -1 for the base."""
    groups = _by_slot(slot_of_row)
    if not groups:
        return NOBODY
    together = _step(groups, (), groups, slot_of_row)
    if together.thin or len(groups) == 1:
        return together
    runs: list[Group] = []
    others = list(slot_of_row)
    end = 0
    for slot, neighbours in groupby(slot_of_row):
        first, end = end, end + len(list(neighbours))
        if slot >= 0 and end - first >= ROWS_EACH:
            runs.append(_group(slot, range(first, end), len(slot_of_row)))
            others[first:end] = [-1] * (end - first)
    return _step(groups, tuple(runs), _by_slot(others), others) if runs else together


def _step(
    groups: tuple[Group, ...], runs: tuple[Group, ...], rest: tuple[Group, ...], slot_of_row: Sequence[int]
) -> Step:
    """`slot_of_row` is of `rest`."""
    slots = tuple(group.slot for group in rest)
    owned = [row for row, slot in enumerate(slot_of_row) if slot >= 0] or [0]
    span = range(owned[0], owned[-1] + 1)
    thin = len(slots) > 1 and len(span) < ROWS_EACH * len(slots)
    by_row = torch.tensor(slot_of_row[span.start : span.stop])
    return Step(groups, runs, rest, slots, _rows(span, len(slot_of_row)), thin, by_row)


def _by_slot(slot_of_row: Sequence[int]) -> tuple[Group, ...]:
    rows_of: dict[int, list[int]] = {}
    for row, slot in enumerate(slot_of_row):
        if slot >= 0:
            rows_of.setdefault(slot, []).append(row)
    return tuple(_group(slot, rows_of[slot], len(slot_of_row)) for slot in sorted(rows_of))


def _group(slot: int, numbers: Sequence[int], batch: int) -> Group:
    return Group(slot, _rows(numbers, batch), len(numbers))


def in_pieces(step: Step, most: int) -> list[Group]:
    """Its groups, none with more than `most` rows."""
    found: list[Group] = []
    for group in step.groups:
        rows = group.rows
        for first in range(0, group.count, most):
            count = min(most, group.count - first)
            if isinstance(rows, torch.Tensor):
                piece: Rows = rows[first : first + count]
            else:
                start = first + (rows.start if rows is not None else 0)
                piece = slice(start, start + count)
            found.append(Group(group.slot, piece, count))
    return found


def _rows(numbers: Sequence[int], batch: int) -> Rows:
    if len(numbers) == batch:
        return None
    if all(following == one + 1 for one, following in pairwise(numbers)):
        return slice(numbers[0], numbers[-1] + 1)
    return torch.tensor(numbers)
