"""The control plane in simulated time."""

from __future__ import annotations

from gateway.placement.rules import Rules
from launch.simulation.engine import SimulatedEngine
from launch.simulation.placer import Placer
from launch.simulation.request import Request
from tests.unit.launch.simulation.test_engine_speed import speed

RULES = Rules(engine_tokens_per_s=200, fullest_share=0.5, spare_share=0.3)


def test_an_adapter_that_is_asked_for_gets_more_homes_and_they_are_loaded() -> None:
    engines = [SimulatedEngine(f"engine-{number}", speed(slots=4)) for number in range(4)]
    placer = Placer(engines, ["hot", "cold"], RULES, every_s=10.0)
    assert [len(found) for found in placer.homes.values()] == [1, 1]
    assert [one.loads for one in engines] == [0, 0, 0, 0], "what is there at the start costs nothing"
    for _ in range(30):
        placer.asked(Request(0.0, "hot", 0, 100))
    placer.replan(10.0)
    assert [len(found) for found in placer.homes.values()] == [3, 1]
    assert (sum(one.loads for one in engines), placer.due_s) == (2, 20.0)


def test_what_was_asked_for_long_ago_counts_for_less() -> None:
    engines = [SimulatedEngine(f"engine-{number}", speed(slots=4)) for number in range(4)]
    placer = Placer(engines, ["hot"], RULES, every_s=10.0)
    placer.asked(Request(0.0, "hot", 0, 3000))
    placer.replan(10.0)
    placer.replan(300.0)
    assert len(placer.homes["hot"]) == 1
