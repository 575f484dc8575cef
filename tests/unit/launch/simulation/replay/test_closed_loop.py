"""Clients that ask again once they are answered."""

from __future__ import annotations

from pathlib import Path

import pytest

from launch.simulation.engine_speed import EngineSpeed
from launch.simulation.replay.closed_loop import replayed
from launch.simulation.replay.measured import SlotsResult, Visit, read_result, visits_of
from tests.unit.launch.simulation.replay.results import slots_result
from tests.unit.launch.simulation.test_engine_speed import speed


def measured(folder: Path, cell: str, **settings: object) -> tuple[SlotsResult, dict[str, Visit]]:
    found = read_result("--replay", str(slots_result(folder, cell, **settings)))  # type: ignore[arg-type]
    assert isinstance(found, SlotsResult)
    return found, {one.arm: one for one in visits_of(found)}


def quick(**changes: float) -> EngineSpeed:
    return speed(**{"load_s": 0.0, "prompt_tokens_per_s": 1e9, "seats": 4, "slots": 2, **changes})


def test_one_client_is_answered_one_request_after_the_other(tmp_path: Path) -> None:
    bounds = {"clients": 1, "least_tokens": 10, "most_tokens": 10}
    found, visits = measured(tmp_path, "zipf, 1 adapters", **bounds)
    for visit in visits.values():
        figures = replayed(visit, found.settings, quick(), repeats=1)
        # ten steps of 10 ms each
        assert figures["requests_per_s"] == pytest.approx(10.0, abs=0.25)
        assert figures["first_token_p99_s"] == pytest.approx(0.01, rel=1e-3)


def test_as_many_clients_as_seats_are_answered_together(tmp_path: Path) -> None:
    bounds = {"clients": 4, "least_tokens": 10, "most_tokens": 10}
    found, visits = measured(tmp_path, "uniform, 2 adapters", **bounds)
    assert replayed(visits["direct"], found.settings, quick(), 1)["requests_per_s"] == pytest.approx(
        40, abs=1
    )


def test_two_engines_answer_twice_as_many(tmp_path: Path) -> None:
    bounds = {"clients": 8, "least_tokens": 10, "most_tokens": 10}
    one, visits = measured(tmp_path, "uniform, 2 adapters", **bounds)
    two, _ = measured(tmp_path, "uniform, 2 adapters", **bounds, engines=2)
    for visit in visits.values():
        rates = [replayed(visit, each.settings, quick(), 1)["requests_per_s"] for each in (one, two)]
        assert 1.6 < rates[1] / rates[0] < 2.1  # by chance one has more to do than the other now and then


def test_where_slots_are_too_few_it_takes_longer_and_is_the_same_each_time(tmp_path: Path) -> None:
    found, visits = measured(tmp_path, "own, 4 adapters")
    for visit in visits.values():
        figures = replayed(visit, found.settings, quick(), repeats=3)
        assert figures == replayed(visit, found.settings, quick(), repeats=3)
        assert (
            figures["requests_per_s"]
            < 0.95 * replayed(visit, found.settings, quick(slots=4), 3)["requests_per_s"]
        )
