"""The bound on what one engine is given, by what it shows."""

from __future__ import annotations

import pytest

from gateway.admission.engine_bound import EngineBound, EngineLoad, next_up


class Engine:
    """Runs as many as it has seats and queues the rest; the gateway gives it as many as the bound allows."""

    def __init__(self, seats: int, bound: EngineBound, wanted: int = 10_000) -> None:
        self.seats = seats
        self.bound = bound
        self.wanted = wanted

    def looks(self, count: int) -> list[int]:
        found = []
        for _ in range(count):
            given = min(self.wanted, self.bound.limit)
            running = min(self.seats, given)
            found.append(self.bound.saw(EngineLoad(running, given - running)))
        return found


@pytest.mark.parametrize("seats", [1, 2, 8, 32, 256])
@pytest.mark.parametrize("first", [None, 1, 16, 64])
def test_it_comes_to_what_the_engine_runs_and_a_few_more(seats: int, first: int | None) -> None:
    engine = Engine(seats, EngineBound(512, first))
    settled = engine.looks(120)[60:]
    assert min(settled) >= seats
    assert max(settled) <= seats + 4 * next_up(seats)


def test_an_engine_that_never_queues_has_all_that_is_configured_and_few_requests_change_nothing() -> None:
    assert Engine(1000, EngineBound(512, 8)).looks(40)[-1] == 512
    assert set(Engine(1000, EngineBound(512, 64), wanted=20).looks(40)) == {64 + next_up(64)}


def test_what_has_come_just_now_is_no_queue() -> None:
    bound = EngineBound(512)
    assert bound.saw(EngineLoad(0, 100)) == 512  # its next step takes them
    assert bound.saw(EngineLoad(100, 0)) == 512
    assert bound.saw(EngineLoad(8, 100)) == 512
    assert bound.saw(EngineLoad(8, 100)) == 100 + next_up(100)  # as many ran a moment ago


def test_it_follows_an_engine_that_takes_less_and_more_again() -> None:
    engine = Engine(64, EngineBound(512, 64))
    engine.looks(20)
    engine.seats = 8
    assert engine.looks(40)[-1] <= 12
    engine.seats = 64
    assert engine.looks(200)[-1] >= 64


def test_a_full_cache_bounds_it_and_what_had_to_be_stopped_eases_it() -> None:
    bound = EngineBound(512)
    for _ in range(2):
        bound.saw(EngineLoad(40, 1, cache_use=0.99))
    assert bound.limit == 44
    bound.saw(EngineLoad(40, 0, cache_use=0.99, preemptions=3))
    assert bound.limit == 36
    assert bound.saw(EngineLoad(36, 0, cache_use=0.9, preemptions=3)) <= 36


def test_it_is_never_under_one_nor_over_what_is_configured() -> None:
    bound = EngineBound(4, 100)
    assert bound.limit == 4
    for preemptions in range(20):
        bound.saw(EngineLoad(1, 50, preemptions=preemptions))
    assert bound.limit == 1


def test_one_that_has_not_begun_says_nothing_and_one_that_was_thought_small_is_not_held_to_it() -> None:
    bound = EngineBound(512, 32)
    for _ in range(20):
        bound.saw(EngineLoad(0, 35))  # its first step takes a while
    assert bound.limit == 36
    for _ in range(5):
        bound.saw(EngineLoad(1, 30))
    assert bound.limit == 2
    bound.saw(EngineLoad(30, 1))
    assert bound.limit == 30


def test_it_comes_back_quickly_where_more_fit() -> None:
    engine = Engine(1, EngineBound(512, 32))
    engine.looks(10)
    assert engine.bound.limit <= 2
    engine.seats = 32
    assert engine.looks(24)[-1] >= 32


class Slow:
    """Runs all that it is given at once and answers `per_s` in all, for clients that wait so long."""

    def __init__(self, per_s: float, patience_s: float, first: int) -> None:
        self.per_s = per_s
        self.patience_s = patience_s
        self.bound = EngineBound(512, first)

    def turns(self, count: int) -> list[int]:
        """All that run end, in each of them."""
        found = []
        for _ in range(count):
            given = self.bound.limit
            late = given if given / self.per_s > self.patience_s else 0
            self.bound.saw(EngineLoad(given, 0), given - late, late)
            found.append(self.bound.limit)
        return found


def test_an_engine_that_answers_nobody_in_time_is_given_fewer_at_once() -> None:
    slow = Slow(per_s=4.0, patience_s=3.0, first=32)
    assert slow.turns(3)[-1] <= 12
    settled = slow.turns(60)
    assert max(settled[20:]) <= 12 + 4 * next_up(12)
    assert min(settled) >= 5


def test_a_few_that_are_late_change_nothing_and_what_ran_before_is_no_sign_of_this_bound() -> None:
    bound = EngineBound(512, 20)
    limit = bound.limit
    assert bound.saw(EngineLoad(10, 0), limit - 2, 2) == limit
    assert bound.saw(EngineLoad(10, 0), 0, limit - 1) == limit  # not all have ended yet
    assert bound.saw(EngineLoad(10, 0), 0, 1) == 5
