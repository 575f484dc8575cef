"""Tables for the terminal, and those of medians with their spread."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from rich import box
from rich.table import Table

from launch.bench.results.summary import Compared, Figures, Summary

Shown = Mapping[str, tuple[str, int]]
"""figure → its heading and digits"""

Row = tuple[Sequence[str], Mapping[str, Figures]]
"""What stands in the first columns, and the figures."""

MEDIANS = "Medians over the rounds (least to most)"


def rows_of(summary: Summary) -> Iterator[Row]:
    """Of `summarise`: a row for each cell and subject, cell by cell."""
    for cell, subjects in summary.items():
        for subject, figures in subjects.items():
            yield [cell, subject], figures


def plain_table(title: str, heads: Iterable[str], figures: Iterable[str] = ()) -> Table:
    """Without a frame and rows yet: the columns of `figures` stand to the right."""
    table = Table(*heads, box=box.SIMPLE_HEAD, title=title)
    for heading in figures:
        table.add_column(heading, justify="right")
    return table


def spread_table(title: str, heads: Sequence[str], columns: Shown, rows: Iterable[Row]) -> Table:
    """One row for each of `rows`: what stands under `heads`, then a figure for each column."""
    table = plain_table(title, heads, (heading for heading, _ in columns.values()))
    for names, figures in rows:
        table.add_row(*names, *(_shown(figures[key], digits) for key, (_, digits) in columns.items()))
    return table


def ratios_of(found: Compared, title: str, head: str, columns: Shown) -> Table:
    """One row a comparison, two digits each."""
    return spread_table(title, [head], *as_ratios(found, columns))


def as_ratios(found: Compared, columns: Shown) -> tuple[Shown, Iterator[Row]]:
    """The same columns with two digits, and a row for each comparison."""
    two = {key: (heading, 2) for key, (heading, _) in columns.items()}
    return two, (([name], figures) for name, figures in found.items())


def _shown(one: Figures, digits: int) -> str:
    return f"{one['median']:,.{digits}f} ({one['least']:,.{digits}f} to {one['most']:,.{digits}f})"
