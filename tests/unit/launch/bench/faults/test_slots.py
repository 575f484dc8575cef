"""`bench slots`: the cells, the ratios, the tables."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from typer.testing import CliRunner

from gateway.errors import ConfigError
from launch.bench.cli import build_bench_app
from launch.bench.faults.slots import CELLS, Cell, figures_table, ratios, ratios_table, read_cells
from launch.bench.results.summary import DIRECT, OURS, summarise


def row(turn: int, subject: str, rate: float) -> dict[str, object]:
    figures = {"requests_per_s": rate, "tokens_per_s": 12 * rate, "fairness": 0.9}
    waits = {"ttft_p50_ms": 100.0, "ttft_p99_ms": 200.0, "longest_wait_ms": 300.0}
    return {"round": turn, "cell": Cell("zipf", 8).name, "subject": subject, **figures, **waits}


def test_ratios_are_formed_within_a_round_and_shown_with_their_spread() -> None:
    rows = [row(0, DIRECT, 2.0), row(0, OURS, 3.0), row(1, DIRECT, 4.0), row(1, OURS, 4.0)]
    found = ratios(rows)["zipf, 8 adapters"]
    assert found["requests_per_s"] == {"median": 1.25, "least": 1.0, "most": 1.5}
    assert found["ttft_p99_ms"]["median"] == 1.0
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(figures_table(summarise(rows)), ratios_table(ratios(rows)))
    assert "3.50 (3.00 to 4.00)" in console.export_text(clear=False)
    assert "1.25 (1.00 to 1.50)" in console.export_text()


def test_the_usual_cells_are_read() -> None:
    assert read_cells(CELLS) == [Cell("zipf", 8), Cell("zipf", 16), Cell("zipf", 64), Cell("own", 8)]


@pytest.mark.parametrize("text", ["zipf", "zipf:x", "zipf:0", "best:8", "zipf:8,"])
def test_cells_are_a_law_and_a_number(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--cells: .*zipf, uniform, own"):
        read_cells(text)


def test_command_is_there() -> None:
    result = CliRunner().invoke(build_bench_app(), ["slots", "--help"])
    assert result.exit_code == 0
    assert "--window-s" in result.output
