"""An engine in simulated time, held against times that were reckoned by hand."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from launch.simulation.engine import NEVER, SimulatedEngine
from launch.simulation.request import Request
from tests.unit.launch.simulation.test_engine_speed import speed


def run(engine: SimulatedEngine, *requests: Request) -> None:
    """All of them, to their ends."""
    for request in requests:
        while engine.event_at <= request.at_s:
            engine.happens(engine.event_at)
        engine.arrives(request, request.at_s)
    while engine.event_at < NEVER:
        engine.happens(engine.event_at)


def test_one_request_waits_for_its_load_its_prompt_and_a_step_a_token() -> None:
    engine, one = SimulatedEngine("e", speed()), Request(1.0, "a", 100, 11)
    run(engine, one)
    assert one.first_s == pytest.approx(1.0 + 0.5 + 0.1 + 0.01)
    assert one.end_s == pytest.approx(one.first_s + 10 * 0.01)
    assert (engine.loads, engine.in_flight) == (1, 0)
    assert engine.queued_work == pytest.approx(0.0)


def test_a_second_request_stretches_a_step_of_the_first() -> None:
    one, other = Request(0.0, "a", 0, 101), Request(0.7051, "a", 50, 1)
    run(SimulatedEngine("e", speed()), one, other)
    assert one.first_s == pytest.approx(0.51)
    assert other.first_s == pytest.approx(0.71 + 0.06)  # from the next step on
    assert one.end_s == pytest.approx(0.51 + 100 * 0.01 + 0.05)


def test_without_a_seat_a_request_waits_for_an_end() -> None:
    some = [Request(0.0, "a", 0, 11), Request(0.0, "a", 0, 21), Request(0.0, "a", 0, 1)]
    run(SimulatedEngine("e", speed(load_s=0.0)), *some)
    assert some[2].first_s == pytest.approx(some[0].end_s + 0.01)


def test_without_a_slot_an_adapter_waits_for_the_others_end_and_is_loaded() -> None:
    engine = SimulatedEngine("e", speed())
    one, other, again = Request(0.0, "a", 0, 11), Request(0.0, "b", 0, 1), Request(5.0, "b", 0, 1)
    run(engine, one, other, again)
    assert other.first_s == pytest.approx(one.end_s + 0.5 + 0.01)
    assert again.first_s == pytest.approx(5.01)
    assert engine.loads == 2
    assert list(engine.resident) == ["b"]


def test_the_longest_unused_adapter_leaves() -> None:
    engine = SimulatedEngine("e", speed(slots=2))
    run(engine, *(Request(float(number), adapter, 0, 1) for number, adapter in enumerate("abac")))
    assert list(engine.resident) == ["a", "c"]


def test_an_adapter_loaded_ahead_is_there_when_it_is_asked_for() -> None:
    engine, one = SimulatedEngine("e", speed(slots=2)), Request(9.0, "a", 0, 1)
    engine.load("a")
    run(engine, Request(0.0, "b", 0, 1), one)
    assert one.first_s == pytest.approx(9.01)
    assert engine.loads == 2


def test_a_long_prompt_takes_several_steps() -> None:
    one = Request(0.0, "a", 300, 1)
    run(SimulatedEngine("e", speed(load_s=0.0, tokens_in_step=100)), one)
    assert one.first_s == pytest.approx(0.3 + 3 * 0.01)


def test_a_client_may_leave_until_its_request_has_begun() -> None:
    engine = SimulatedEngine("e", speed(seats=1))
    one, other = Request(0.0, "a", 0, 11), Request(0.0, "a", 0, 11)
    engine.arrives(one, 0.0)
    engine.happens(engine.event_at)
    engine.arrives(other, 0.0)
    assert engine.abandon(other)
    assert not engine.abandon(one)
    assert engine.in_flight == 1


def test_the_way_of_an_answer_keeps_nobody_waiting() -> None:
    one, other = Request(0.0, "a", 0, 11), Request(0.0, "a", 0, 1)
    run(SimulatedEngine("e", speed(load_s=0.0, seats=1, answer_s=0.2)), one, other)
    assert one.first_s == pytest.approx(0.01 + 0.2)
    assert one.end_s == pytest.approx(0.11 + 0.2)
    assert other.first_s == pytest.approx(0.12 + 0.2)


def test_engines_of_one_machine_slow_each_other_while_both_work() -> None:
    engines = [SimulatedEngine(name, speed(load_s=0.0, together=2.0)) for name in "ef"]
    engines[0].beside, engines[1].beside = [engines[1]], [engines[0]]
    long, short = Request(0.0, "a", 0, 101), Request(0.0, "a", 0, 51)
    for engine, request in zip(engines, (long, short), strict=True):
        engine.arrives(request, 0.0)
    while (engine := min(engines, key=lambda one: one.event_at)).event_at < NEVER:
        engine.happens(engine.event_at)
    assert short.end_s == pytest.approx(51 * 0.02, abs=0.02)
    assert long.end_s == pytest.approx(51 * 0.02 + 50 * 0.01, abs=0.03)
    alone = Request(9.0, "a", 0, 101)
    engines[0].arrives(alone, 9.0)
    while engines[0].event_at < NEVER:
        engines[0].happens(engines[0].event_at)
    assert alone.end_s == pytest.approx(9.0 + 101 * 0.01)


def ends_of(engine: SimulatedEngine, requests: Sequence[Request]) -> list[float]:
    for one in requests:
        engine.arrives(one, one.at_s)
    while engine.event_at < NEVER:
        engine.happens(engine.event_at)
    return [round(one.end_s, 6) for one in requests]


def test_products_that_adapters_share_are_made_in_the_fourth_step_that_wants_them() -> None:
    def pair() -> list[Request]:
        return [Request(0.0, adapter, 0, 6) for adapter in "ab"]

    own = {"seats": 4, "slots": 2, "load_s": 0.0}
    assert ends_of(SimulatedEngine("plain", speed(**own)), pair()) == [0.06, 0.06]
    packing = SimulatedEngine("packing", speed(**own, pack_s_per_adapter=0.1))
    assert ends_of(packing, pair()) == [0.26, 0.26]
    later = [Request(1.0, adapter, 0, 6) for adapter in "ab"]
    assert ends_of(packing, later) == [1.06, 1.06]  # they are there
    packing.load("c")
    last = [Request(2.0, adapter, 0, 4) for adapter in "ab"]
    assert ends_of(packing, last) == [2.04, 2.04]  # not for so few steps


def test_who_comes_while_they_are_made_begins_after_that_step() -> None:
    engine = SimulatedEngine("packing", speed(seats=4, slots=2, load_s=0.0, pack_s_per_adapter=0.1))
    some = [Request(0.0, "a", 0, 9), Request(0.0, "b", 0, 9)]
    for one in some:
        engine.arrives(one, 0.0)
    while engine.event_at <= 0.05:
        engine.happens(engine.event_at)
    late = Request(0.05, "a", 0, 1)
    engine.arrives(late, 0.05)
    while engine.event_at < NEVER:
        engine.happens(engine.event_at)
    assert late.first_s == pytest.approx(0.01 + 3 * 0.01 + 0.21 + 0.01)
