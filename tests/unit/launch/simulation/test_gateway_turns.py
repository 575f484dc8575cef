"""The gateway in simulated time: turns at a slot, and a choice between homes."""

from __future__ import annotations

import random
from collections.abc import Sequence

from gateway.placement.rules import Rules
from launch.simulation.engine import SimulatedEngine
from launch.simulation.engine_speed import EngineSpeed
from launch.simulation.gateway_turns import GatewayTurns
from launch.simulation.placer import Placer
from launch.simulation.request import Request
from launch.simulation.world import World
from tests.unit.launch.simulation.test_engine_speed import speed


def world(
    adapters: Sequence[str], replicas: int, figures: EngineSpeed, min_replicas: int = 1
) -> tuple[World, list[SimulatedEngine]]:
    engines = [SimulatedEngine(f"engine-{number}", figures) for number in range(replicas)]
    placer = Placer(engines, adapters, Rules(min_replicas=min_replicas), every_s=1000.0)
    return World(engines, GatewayTurns(engines, placer, 0.5, random.Random(1)), 60.0), engines


def told(some: Sequence[Request], made: World, until_s: float = 100.0) -> None:
    for request in some:
        made.until(request.at_s)
        made.arrives(request)
    made.until(until_s)


def test_an_adapter_without_a_slot_has_its_turn_once_the_other_has_rested() -> None:
    made, engines = world("ab", 1, speed(load_s=0.0))
    some = [Request(0.0, "a", 0, 11), Request(0.01, "b", 0, 1)]
    told(some, made)
    # a ends at 0.11 s, keeps its slot for the least residency, and gives it up then
    assert some[0].end_s < 0.2
    assert 0.5 <= some[1].first_s < 0.6
    assert engines[0].loads == 2


def test_a_busy_adapter_does_not_keep_the_slot_for_ever() -> None:
    made, _ = world("ab", 1, speed(load_s=0.0, seats=4))
    some = [Request(0.02 * number, "a", 0, 11) for number in range(400)]
    late = Request(1.0, "b", 0, 1)
    told(sorted([*some, late], key=lambda one: one.at_s), made)
    assert late.first_s < 2.0


def test_of_two_homes_the_one_with_the_adapter_in_a_slot_is_taken_until_it_is_full() -> None:
    made, engines = world("ab", 2, speed(load_s=0.1, seats=2), min_replicas=2)
    some = [Request(0.1 * number, "a", 0, 2) for number in range(20)]
    told(some, made)
    assert sorted(one.loads for one in engines) == [0, 1]
    crowd = [Request(200.0, "a", 0, 1000) for _ in range(8)]
    told(crowd, made, 400.0)
    assert [one.loads for one in engines] == [1, 1]


def test_a_client_that_leaves_makes_way() -> None:
    made, engines = world("ab", 1, speed(load_s=0.0))
    hold = Request(0.0, "a", 0, 100_000)
    gone, gone_too = Request(1.0, "b", 0, 1), Request(2.0, "a", 0, 1)
    told([hold, gone, gone_too], made, 70.0)
    assert gone.first_s < 0 < gone_too.first_s
    assert engines[0].in_flight == 1


def test_who_waits_goes_to_a_home_that_a_plan_has_just_made() -> None:
    figures = speed(load_s=0.0)
    engines = [SimulatedEngine(name, figures) for name in ("engine-0", "engine-1")]
    placer = Placer(engines, "ab", Rules(min_replicas=1), every_s=5.0)
    here = placer.homes["a"][0]
    placer.homes = {"a": (here,), "b": (here,)}  # both on one, which a holds on to
    for name in placer.holds:
        placer.holds[name] = {"a", "b"} if name == here else set()
    made = World(engines, GatewayTurns(engines, placer, 0.5, random.Random(1)), 60.0)
    hold, waits = Request(0.0, "a", 0, 100_000), Request(1.0, "b", 0, 1)
    told([hold, waits], made, 10.0)
    assert 5.0 <= waits.first_s < 5.5
