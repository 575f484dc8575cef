"""Simulated beside seen: a row for each visit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich import box
from rich.table import Table

from launch.simulation.engine_speed import EngineSpeed
from launch.simulation.replay.closed_loop import replayed
from launch.simulation.replay.measured import FIGURES, SlotsResult, visits_of

HEADINGS = {"requests_per_s": "requests/s", "first_token_p50_s": "p50 s", "first_token_p99_s": "p99 s"}


def rows_of(result: SlotsResult, speed: EngineSpeed) -> list[dict[str, object]]:
    """What was seen of each visit, what the simulation makes of it, and this over that."""
    rows: list[dict[str, object]] = []
    for visit in visits_of(result):
        figures = replayed(visit, result.settings, speed)
        row: dict[str, object] = {"cell": visit.cell, "arm": visit.arm, "engines": result.settings.engines}
        for figure in FIGURES:
            seen, simulated = visit.seen[figure], figures[figure]
            ratio = simulated / seen if seen else None
            row[figure] = {"seen": seen, "simulated": simulated, "ratio": ratio}
        rows.append(row)
    return rows


def table_of(rows: Sequence[Mapping[str, object]]) -> Table:
    """Seen, simulated, and the second over the first."""
    table = Table(box=box.SIMPLE_HEAD, title="seen → simulated (simulated over seen)")
    table.add_column("adapters")
    table.add_column("through")
    for heading in HEADINGS.values():
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(str(row["cell"]), str(row["arm"]), *(_said(row[figure]) for figure in HEADINGS))
    return table


def _said(figures: object) -> str:
    assert isinstance(figures, dict)
    ratio = "" if figures["ratio"] is None else f" ({figures['ratio']:.2f})"
    return f"{figures['seen']:.2f} → {figures['simulated']:.2f}{ratio}"
