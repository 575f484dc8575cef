"""Simulated time: everything happens in its order, and clients are not patient for ever."""

from __future__ import annotations

import pytest

from launch.simulation.engine import SimulatedEngine
from launch.simulation.policies import RoundRobin
from launch.simulation.request import Request
from launch.simulation.world import AtOnce, World
from tests.unit.launch.simulation.test_engine_speed import speed


def world(patience_s: float = 60.0) -> tuple[World, list[SimulatedEngine]]:
    engines = [SimulatedEngine(f"engine-{number}", speed(load_s=0.0, seats=1)) for number in range(2)]
    return World(engines, AtOnce(RoundRobin(engines)), patience_s), engines


def test_requests_are_answered_by_their_engines() -> None:
    made, _ = world()
    some = [Request(0.001 * number, "a", 0, 11) for number in range(4)]
    for one in some:
        made.until(one.at_s)
        made.arrives(one)
    made.until(10.0)
    assert [one.engine for one in some] == [0, 1, 0, 1]
    assert [round(one.end_s, 3) for one in some] == pytest.approx([0.11, 0.111, 0.22, 0.221])


def test_a_client_leaves_whose_request_has_not_begun() -> None:
    made, engines = world(patience_s=0.05)
    some = [Request(0.0, "a", 0, 1000), Request(0.0, "a", 0, 1), Request(0.0, "a", 0, 1)]
    for one in some:
        made.arrives(one)
    made.until(1.0)
    assert [one.first_s >= 0 for one in some] == [True, True, False]
    assert [one.in_flight for one in engines] == [1, 0]
