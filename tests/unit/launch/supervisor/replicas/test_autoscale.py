"""How many engines there are to be: what adds one, what removes one, and what does neither."""

from __future__ import annotations

from dataclasses import replace

import pytest

from launch.supervisor.replicas.autoscale import QueueLoad, ScaleRules, Scaling, next_scaling

RULES = ScaleRules(least=0, most=4, wait_s=2.0, in_flight=10, add_every_s=30.0, remove_after_s=300.0)
NONE = QueueLoad(in_flight=0, wait_s=0.0, cold=0, coming=0)
NOW = 1000.0


def at(wanted: int, *, changed_s: float = 1000.0, needed_s: float = 1000.0) -> Scaling:
    """So many, changed and needed so many seconds ago."""
    return Scaling(wanted, NOW - changed_s, NOW - needed_s)


def wanted(before: Scaling, load: QueueLoad, rules: ScaleRules = RULES) -> int:
    return next_scaling(before, load, rules, NOW).wanted


@pytest.mark.parametrize(("wait_s", "then"), [(0.0, 2), (2.0, 2), (2.1, 3), (3.0, 3), (3.1, 4), (60.0, 4)])
def test_a_queue_that_is_too_long_calls_for_as_many_as_it_is_too_long_by(wait_s: float, then: int) -> None:
    assert wanted(at(2, needed_s=0), replace(NONE, in_flight=50, wait_s=wait_s)) == then


def test_never_more_than_twice_as_many_at_once_and_never_beyond_the_bounds() -> None:
    long = replace(NONE, in_flight=99, wait_s=600.0)
    assert wanted(at(1), long) == 2
    assert wanted(at(4), long) == 4
    assert wanted(at(9), NONE) == 4
    assert wanted(at(0), NONE, replace(RULES, least=2)) == 2


@pytest.mark.parametrize("changes", [{"coming": 1}, {"changed_s": 29.0}])
def test_none_is_added_while_one_is_on_its_way_or_has_just_come(changes: dict[str, float]) -> None:
    coming = int(changes.pop("coming", 0))
    load = replace(NONE, in_flight=50, wait_s=9.0, coming=coming)
    assert wanted(at(2, **changes), load) == 2


def test_the_first_request_brings_the_first_engine_whatever_was_before() -> None:
    assert wanted(at(0, changed_s=1.0), replace(NONE, cold=1)) == 1
    assert wanted(at(0, changed_s=1.0), NONE) == 0


def test_one_goes_when_fewer_were_enough_for_long_and_one_at_a_time() -> None:
    few = replace(NONE, in_flight=20)
    assert wanted(at(4), few) == 3
    assert wanted(at(4, needed_s=299.0), few) == 4
    assert wanted(at(4, changed_s=299.0), few) == 4
    assert wanted(at(3), few) == 2
    assert wanted(at(3), replace(few, in_flight=21)) == 3
    assert wanted(at(4), replace(few, coming=1)) == 4


def test_what_was_needed_once_is_kept_for_as_long_again() -> None:
    busy = next_scaling(at(4), replace(NONE, in_flight=31), RULES, NOW)
    assert busy.needed_at == NOW
    assert next_scaling(busy, NONE, RULES, NOW + 299.0).wanted == 4
    assert next_scaling(busy, NONE, RULES, NOW + 300.0).wanted == 3


def test_the_last_goes_only_where_nobody_asks_and_only_to_the_least() -> None:
    assert wanted(at(1), NONE) == 0
    assert wanted(at(1), replace(NONE, in_flight=1)) == 1
    assert wanted(at(1), NONE, replace(RULES, least=1)) == 1


def test_why_is_told_with_the_figure() -> None:
    more = next_scaling(at(2), replace(NONE, in_flight=50, wait_s=5.25), RULES, NOW)
    assert (more.why, more.changed_at) == ("requests wait 5.2 s for a place", NOW)
    assert next_scaling(at(2), NONE, RULES, NOW).why == "fewer were enough for 1000 s"


def test_a_day_of_bursts_does_not_flap() -> None:
    """Ten minutes of load in each half hour: one way up and one way down for each."""
    state, changes = Scaling(0, -1e9, 0.0), 0
    for second in range(0, 6 * 3600):
        busy = second % 1800 < 600
        load = QueueLoad(35, 3.0 if state.wanted < 4 else 0.0, 0, 0) if busy else NONE
        after = next_scaling(state, load, RULES, float(second))
        changes += after.wanted != state.wanted
        state = after
    assert changes <= 12 * 8
