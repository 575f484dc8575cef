"""Recorded requests played again: who waits for what, by hand."""

from __future__ import annotations

import pytest

from launch.simulation.replay.open_loop import play
from launch.simulation.request import Request
from tests.unit.launch.simulation.test_engine_speed import speed

NAMES = ["a", "b", "c"]


def played(requests: list[Request], engines: int = 1, **changes: float) -> int:
    own = {"slots": 2, "seats": 4, **changes}
    return play(requests, NAMES, speed(**own), engines, least_residency_s=0.5)


def test_the_first_adapters_are_in_slots_and_another_waits_for_its_load() -> None:
    one, other = Request(10.0, "a", 0, 11), Request(20.0, "c", 0, 1)
    assert played([one, other]) == 1
    assert one.first_s == pytest.approx(10.01)
    assert one.end_s == pytest.approx(10.11)
    assert other.first_s == pytest.approx(20.0 + 0.5 + 0.01)


def test_the_gateway_holds_back_who_finds_no_slot() -> None:
    """Both slots are in use for a second; the third adapter goes where the first request ends."""
    some = [Request(10.0, "a", 0, 101), Request(10.001, "b", 0, 201), Request(10.1, "c", 0, 1)]
    played(some)
    assert some[2].first_s == pytest.approx(some[0].end_s + 0.5 + 0.01)


def test_with_two_engines_a_third_adapter_finds_a_slot() -> None:
    some = [Request(10.0, "a", 0, 101), Request(10.001, "b", 0, 201), Request(10.1, "c", 0, 1)]
    played(some, engines=2)
    assert some[2].first_s == pytest.approx(10.1 + 0.5 + 0.01)


def test_what_came_before_has_loaded_what_it_needed() -> None:
    before, one = Request(3.0, "c", 0, 11), Request(10.0, "c", 0, 1)
    own = speed(slots=2, seats=4)
    assert play([one], NAMES, own, 1, least_residency_s=0.5, before=[before]) == 0
    assert one.at_s == pytest.approx(before.end_s + 10.0)
    assert one.first_s == pytest.approx(one.at_s + 0.01)
    assert before.first_s == pytest.approx(3.0 + 0.5 + 0.01)


def test_the_same_requests_are_played_alike() -> None:
    def once() -> list[float]:
        some = [Request(0.05 * number, NAMES[number % 3], 20, 10) for number in range(200)]
        played(some, engines=2)
        assert all(one.first_s > one.at_s for one in some)
        return [one.end_s for one in some]

    assert once() == once()
