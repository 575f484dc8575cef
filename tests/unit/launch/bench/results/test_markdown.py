"""Medians as lines of Markdown."""

from __future__ import annotations

from launch.bench.results.markdown import markdown_ratios, markdown_table
from launch.bench.results.summary import spread
from launch.bench.results.tables import rows_of


def test_a_row_has_its_names_and_each_figure_with_its_spread() -> None:
    summary = {"a cell": {"one": {"per_s": spread([1200.0, 900.0, 1500.0]), "errors": spread([0.0, 0.0])}}}
    text = markdown_table(
        ["on", "who"], {"per_s": ("requests/s", 0), "errors": ("errors", 0)}, rows_of(summary)
    )
    assert text.splitlines() == [
        "| on | who | requests/s | errors |",
        "|---|---|---|---|",
        "| a cell | one | 1,200 (900 to 1,500) | 0 |",
    ]


def test_what_was_not_measured_stays_empty() -> None:
    text = markdown_table(
        ["who"], {"p50_ms": ("p50, ms", 1)}, [(["one"], {}), (["two"], {"p50_ms": spread([2.25])})]
    )
    assert text.splitlines()[2:] == ["| one |  |", "| two | 2.2 |"]


def test_ratios_have_two_digits_whatever_the_figure_has() -> None:
    found = {"two to one": {"per_s": spread([0.9, 0.987, 1.0])}}
    text = markdown_ratios("compared", {"per_s": ("requests/s", 0)}, found)
    assert text.splitlines() == [
        "| compared | requests/s |",
        "|---|---|",
        "| two to one | 0.99 (0.90 to 1.00) |",
    ]
