"""Tables of medians with their spread, for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from rich import box
from rich.table import Table

from launch.bench.results.summary import Figures

Shown = Mapping[str, tuple[str, int]]
"""figure → its heading and digits"""

MEDIANS = "Medians over the rounds (least to most)"


def spread_table(
    title: str,
    heads: Sequence[str],
    columns: Shown,
    rows: Iterable[tuple[Sequence[str], Mapping[str, Figures]]],
) -> Table:
    """One row for each of `rows`: what stands under `heads`, then a figure for each column."""
    table = Table(box=box.SIMPLE_HEAD, title=title)
    for head in heads:
        table.add_column(head)
    for heading, _ in columns.values():
        table.add_column(heading, justify="right")
    for names, figures in rows:
        table.add_row(*names, *(_shown(figures[key], digits) for key, (_, digits) in columns.items()))
    return table


def ratios_of(found: Mapping[str, Mapping[str, Figures]], title: str, head: str, columns: Shown) -> Table:
    """One row a comparison, two digits each."""
    two = {key: (heading, 2) for key, (heading, _) in columns.items()}
    return spread_table(title, [head], two, (([name], figures) for name, figures in found.items()))


def _shown(one: Figures, digits: int) -> str:
    return f"{one['median']:,.{digits}f} ({one['least']:,.{digits}f} to {one['most']:,.{digits}f})"
