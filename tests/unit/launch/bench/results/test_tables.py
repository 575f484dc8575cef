"""Tables of medians: each figure with its spread, to the digits that were asked for."""

from __future__ import annotations

import io

from rich.console import Console
from rich.table import Table

from launch.bench.results.tables import ratios_of, spread_table

FIGURES = {"rate": {"median": 1234.5, "least": 1000.0, "most": 2000.0}}


def text(table: Table) -> str:
    out = io.StringIO()
    Console(file=out, width=120).print(table)
    return out.getvalue()


def test_figures_stand_under_their_headings() -> None:
    shown = text(spread_table("Title", ["arm"], {"rate": ("requests/s", 1)}, [(["ours"], FIGURES)]))
    assert "requests/s" in shown
    assert "1,234.5 (1,000.0 to 2,000.0)" in shown


def test_ratios_have_two_digits_whatever_the_figure_has() -> None:
    ratio = {"rate": {"median": 0.987, "least": 0.9, "most": 1.0}}
    shown = text(ratios_of({"ours/theirs": ratio}, "Ratios", "ratio", {"rate": ("requests/s", 0)}))
    assert "0.99 (0.90 to 1.00)" in shown
