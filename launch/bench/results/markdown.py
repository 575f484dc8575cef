"""Tables of medians as Markdown, to be pasted into the documentation as they are printed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from launch.bench.results.summary import Figures
from launch.bench.results.tables import Shown

Row = tuple[Sequence[str], Mapping[str, Figures]]
"""What stands in the first columns, and the figures."""


def markdown_table(heads: Sequence[str], columns: Shown, rows: Iterable[Row]) -> str:
    """One line a row: median, and least to most where they differ; a figure that is missing is left empty."""
    lines = [_line([*heads, *(heading for heading, _ in columns.values())])]
    lines.append("|" + "---|" * (len(heads) + len(columns)))
    for names, figures in rows:
        cells = [_cell(figures.get(key), digits) for key, (_, digits) in columns.items()]
        lines.append(_line([*names, *cells]))
    return "\n".join(lines) + "\n"


def rows_of(summary: Mapping[str, Mapping[str, Mapping[str, Figures]]]) -> Iterable[Row]:
    """Of `summarise`: a row for each cell and subject, cell by cell."""
    for cell, subjects in summary.items():
        for subject, figures in subjects.items():
            yield [cell, subject], figures


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(one: Figures | None, digits: int) -> str:
    if one is None:
        return ""
    median, least, most = (f"{one[key]:,.{digits}f}" for key in ("median", "least", "most"))
    return median if least == most else f"{median} ({least} to {most})"
