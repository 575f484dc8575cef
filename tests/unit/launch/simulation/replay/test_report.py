"""Simulated beside seen."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from launch.simulation.engine_speed import CPU_DEMO
from launch.simulation.replay.measured import SlotsResult, read_result
from launch.simulation.replay.report import rows_of, table_of
from tests.unit.launch.simulation.replay.results import slots_result


def test_each_visit_has_a_row_with_its_ratios(tmp_path: Path) -> None:
    found = read_result("--replay", str(slots_result(tmp_path, "zipf, 4 adapters")))
    assert isinstance(found, SlotsResult)
    rows = rows_of(found, CPU_DEMO)
    assert [row["arm"] for row in rows] == ["direct", "gateway"]
    rate = rows[0]["requests_per_s"]
    assert isinstance(rate, dict)
    assert rate["seen"] == 3.0
    assert rate["ratio"] == rate["simulated"] / 3.0
    console = Console(width=110, record=True)
    console.print(table_of(rows))
    text = console.export_text()
    assert f"3.00 → {rate['simulated']:.2f} ({rate['ratio']:.2f})" in text
