"""What is asked of whom, and how it is shown."""

from __future__ import annotations

import pytest

from gateway.errors import EngineFailure
from launch.bench.overload.load import OpenLoop, Outcome
from launch.bench.overload.overload import (
    FLOOD,
    LIGHT,
    LOADS,
    OverloadPlan,
    Subjects,
    capacity,
    figures_table,
    in_order,
    rates,
)
from launch.bench.results.summary import DIRECT, OURS


def test_the_light_key_asks_the_same_at_every_load_and_the_flood_the_rest() -> None:
    assert rates(0.0, 40.0) == {LIGHT: 4.0, FLOOD: 0.0}
    assert rates(0.5, 40.0) == {LIGHT: 4.0, FLOOD: 16.0}
    assert sum(rates(4.0, 40.0).values()) == 160.0


def test_each_arm_is_visited_once_a_round_and_who_is_first_changes() -> None:
    for turn in range(2):
        arms = in_order(turn)
        assert sorted(arms) == sorted((load, subject) for load in LOADS for subject in (DIRECT, OURS))
    assert in_order(0)[0][1] != in_order(1)[0][1]


def test_a_figure_that_a_visit_lacks_is_shown_as_none() -> None:
    figures = {"goodput_per_s": {"median": 3.0, "least": 3.0, "most": 3.0}}
    table = figures_table({"2": {DIRECT: figures, OURS: figures}})
    assert table.row_count == 2


def test_capacity_is_that_of_an_engine_that_answers_everything(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    outcomes = [Outcome(FLOOD, 200, 0.0, 0.1, 0.4) for _ in range(9)]

    async def closed(*_: object) -> list[Outcome]:
        return outcomes

    monkeypatch.setattr(OpenLoop, "closed", closed)
    subjects = Subjects({DIRECT: "http://x/v1"}, {DIRECT: lambda _: b"{}"})
    assert capacity(subjects, OverloadPlan(clients=16)) == pytest.approx((40.0, 0.4))
    outcomes.append(Outcome(FLOOD, 500, 0.0, 0.1, 0.4))
    with pytest.raises(EngineFailure, match="1 of 10 requests failed"):
        capacity(subjects, OverloadPlan(clients=16))


def test_the_engine_itself_is_asked_with_its_own_key() -> None:
    subjects = Subjects({}, {DIRECT: lambda _: b"", OURS: lambda _: b""}, "engine's")
    assert subjects.asking(DIRECT, LIGHT, 1.0).headers == {"authorization": "Bearer engine's"}
    assert "light" in subjects.asking(OURS, LIGHT, 1.0).headers["authorization"]
