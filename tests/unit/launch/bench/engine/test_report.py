"""What `bench engine` shows: a figure stands in the row and the column that it belongs to."""

from __future__ import annotations

from rich.table import Table

from launch.bench.engine.report import SHOWN, arms_table, ratios_table, shown_spread, starts_table
from launch.bench.engine.rounds import ArmRun, Comparison, Spread
from launch.machine.memory import MIB


def shown(table: Table) -> list[list[str]]:
    """Its rows, each cell a text; the heading first."""
    cells = [list(map(str, column.cells)) for column in table.columns]
    return [[str(column.header) for column in table.columns], *map(list, zip(*cells, strict=True))]


def run(number: int, arm: str, speed: float) -> ArmRun:
    others = {name: speed + at for at, name in enumerate(SHOWN)}
    return ArmRun(number, 0, arm, {**others, "output_tokens_per_s": speed})


RUNS = [
    run(number, arm, speed) for number in range(3) for arm, speed in (("gateway", 90.0), ("direct", 100.0))
]


def test_an_arms_row_has_its_medians_and_the_speeds_spread() -> None:
    runs = [run(0, "direct", 10.0), run(1, "direct", 30.0), run(2, "direct", 20.0)]
    heading, row = shown(arms_table(runs))
    assert heading == ["arm", *SHOWN.values()]
    assert row == ["direct", "20.0 (10.0 to 30.0)", "21.0", "22.0", "23.0", "24.0", "25.0"]


def test_a_ratio_is_formed_within_its_round_and_named() -> None:
    _, row = shown(ratios_table(RUNS, [Comparison("through / direct", "gateway", "direct")]))
    assert row == ["through / direct", "0.900 (0.900 to 0.900)"]


def test_a_start_shows_its_memory_in_mib() -> None:
    start = {"adapters": 4, "load_s": 1.5, "processes": 2, "pss_bytes": 100 * MIB, "rss_bytes": 300 * MIB}
    assert shown(starts_table([start]))[1] == ["4", "1.5", "2", "100", "300"]


def test_a_spread_has_as_many_digits_as_are_asked_for() -> None:
    assert shown_spread(Spread(1.23456, 1.0, 2.0, 3), 2) == "1.23 (1.00 to 2.00)"
