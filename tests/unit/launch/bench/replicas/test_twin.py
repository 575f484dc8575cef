"""A real run beside its twin."""

from __future__ import annotations

from dataclasses import replace

import pytest

from launch.bench.replicas.open_run import SimulatorPlan, TwinVisit, asked
from launch.bench.replicas.twin import AGAIN, MEASURED, SIMULATED, figures_of, ratio_of, report, rows_of
from launch.simulation.request import Request
from tests.unit.launch.simulation.test_engine_speed import speed

PLAN = SimulatorPlan(adapters=3, window_s=1.0, warm_up_s=0.0)


def test_only_what_came_after_the_warm_up_is_counted() -> None:
    some = [Request(at_s, "a", 1, 1) for at_s in (0.5, 2.0, 3.0, 4.0, 5.5)]
    found = figures_of(some, [9.0, 0.1, 0.3, 2.0, 0.2], 7.0, 1.0, 6.0, 1.0)
    assert found["asked_per_s"] == pytest.approx(0.8)
    assert found["first_token_p50_s"] == 0.2
    assert found["first_token_p99_s"] == 2.0
    assert found["goodput_per_s"] == pytest.approx(0.6)
    assert found["loads"] == 7.0
    with pytest.raises(ValueError, match="after the warm-up"):
        figures_of(some, [1.0] * 5, 0.0, 6.0, 9.0, 1.0)


def row(subject: str, load: float, p50_s: float, p99_s: float, loads: float) -> dict[str, object]:
    cell = {"round": 0, "engines": 1, "load": load, "subject": subject, "asked_per_s": 4.0}
    figures = {"first_token_p50_s": p50_s, "first_token_p99_s": p99_s, "goodput_per_s": 3.5, "loads": loads}
    return {**cell, **figures}


def test_each_visit_stands_beside_its_own_twin() -> None:
    rows = [row(MEASURED, 0.3, 0.1, 0.5, 20.0), row(SIMULATED, 0.6, 0.2, 0.9, 30.0)]
    rows += [row(SIMULATED, 0.3, 0.11, 0.4, 20.0), row(MEASURED, 0.6, 0.2, 0.9, 0.0)]
    lines = report(rows).splitlines()
    assert lines[2] == (
        "| 1 | 0.3 | 4.00 | 0.100 → 0.110 (1.10) | 0.500 → 0.400 (0.80) | 3.50 → 3.50 (1.00) "
        "| 20 → 20 (1.00) | 3 of 4 |"
    )
    assert lines[3].endswith("| 0 → 30 (inf) | 3 of 4 |")


def test_an_engine_asked_again_stands_beside_itself() -> None:
    rows = [row(MEASURED, 0.3, 0.1, 0.5, 20.0), row(SIMULATED, 0.3, 0.1, 0.5, 20.0)]
    assert AGAIN not in report(rows)
    rows += [each | {"round": 1} for each in (row(MEASURED, 0.3, 0.12, 0.5, 20.0), rows[1])]
    lines = report(rows).splitlines()
    assert lines[lines.index(AGAIN) + 4] == (
        "| 1 | 0.3 | 4.00 | 0.100 → 0.120 (1.20) | 0.500 → 0.500 (1.00) | 3.50 → 3.50 (1.00) "
        "| 20 → 20 (1.00) | 3 of 4 |"
    )


def test_nothing_beside_nothing_is_alike() -> None:
    assert ratio_of({"loads": 0.0}, {"loads": 0.0}, "loads") == 1.0


@pytest.mark.parametrize("engines", [1, 2])
def test_what_was_seen_stands_beside_the_simulators_of_the_same_requests(engines: int) -> None:
    requests = asked(PLAN, 40.0, "0")
    visit = TwinVisit(0, engines, 0.6, requests, [0.05] * len(requests), 4.0)
    own = replace(speed(slots=2, seats=4), about="")
    real, twin = rows_of(visit, PLAN, own, 0.5)
    assert (real["subject"], twin["subject"]) == (MEASURED, SIMULATED)
    assert real["first_token_p99_s"] == 0.05
    p50_s = twin["first_token_p50_s"]
    assert isinstance(p50_s, float)
    assert p50_s >= 0.01
    found = twin["spread"]
    assert isinstance(found, dict)
    least, most = (found["first_token_p99_s"][key] for key in ("least", "most"))
    assert least <= twin["first_token_p99_s"] <= most
    kept = real["requests"]
    assert isinstance(kept, list)
    assert [one[1] for one in kept] == [one.adapter for one in requests]
    assert all(one.first_s < 0 for one in requests)  # what was asked is not written to
