"""Tables of medians as Markdown, to be pasted into the documentation as they are printed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from launch.bench.results.summary import Compared, Figures
from launch.bench.results.tables import Row, Shown, as_ratios


def markdown(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown: a line for the heads, the rule below it, one for each row."""
    lines = [_line(heads), "|" + "---|" * len(heads), *map(_line, rows)]
    return "\n".join(lines) + "\n"


def markdown_table(heads: Sequence[str], columns: Shown, rows: Iterable[Row]) -> str:
    """Median, and least to most where they differ; a figure that is missing is left empty."""
    return markdown(
        [*heads, *(heading for heading, _ in columns.values())],
        (
            [*names, *(_cell(figures.get(key), digits) for key, (_, digits) in columns.items())]
            for names, figures in rows
        ),
    )


def markdown_ratios(head: str, columns: Shown, found: Compared) -> str:
    """One line a comparison, two digits each."""
    return markdown_table([head], *as_ratios(found, columns))


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(one: Figures | None, digits: int) -> str:
    if one is None:
        return ""
    median, least, most = (f"{one[key]:,.{digits}f}" for key in ("median", "least", "most"))
    return median if least == most else f"{median} ({least} to {most})"
