"""Residency: who may go to the engine beside those that wait, and what is shown of it."""

from __future__ import annotations

from collections import Counter

from gateway.admission.turns.fair_turns import Shares, path_of, whose_of
from gateway.admission.turns.queues import AdapterQueue, Gate
from gateway.admission.turns.residency import Residency


def lane(adapter_id: str, places: int = 1) -> AdapterQueue:
    return AdapterQueue(
        Gate("task", places, 9), adapter_id, Shares().joins(path_of(whose_of("", ""), "task"))
    )


def test_where_every_adapter_has_a_slot_all_may_go() -> None:
    residency = Residency(10.0)
    assert residency.admits("a@1", [lane("b@1")], 0.0, new=True)
    assert residency.due_in([lane("b@1")], 0.0) is None


def test_a_newcomer_takes_no_slot_before_one_that_lacks_only_that() -> None:
    residency = Residency(10.0)
    residency.resize(1, 0.0)
    assert not residency.admits("a@1", [lane("b@1")], 0.0, new=True)
    assert residency.admits("base", [lane("b@1")], 0.0, new=True)  # it needs none
    assert residency.admits("a@1", [lane("b@1", places=0)], 0.0, new=True)  # that one lacks a place too
    assert residency.admits("a@1", [lane("b@1")], 0.0, new=True)  # it is there already


def test_the_moment_to_look_again_is_the_end_of_an_idle_residency() -> None:
    residency = Residency(10.0)
    residency.resize(1, 0.0)
    assert residency.admits("a@1", (), 1.0)
    assert residency.due_in([lane("b@1")], 4.0) is None  # busy: its end will be heard of
    assert residency.slots is not None
    residency.slots.leave("a@1")
    assert residency.due_in([lane("b@1")], 4.0) == 7.0
    assert residency.due_in([lane("a@1")], 4.0) is None  # nobody else waits


def test_slots_that_come_hold_what_is_busy_and_go_with_the_need_for_them() -> None:
    shown: Counter[str] = Counter()
    residency = Residency(10.0, lambda name, change: shown.update({name: change}))
    residency.busy.update({"a@1": 2, "b@1": 0, "base": 1})
    residency.resize(2, 0.0)
    assert (+shown, set(residency.busy)) == (Counter({"a@1": 1}), {"a@1", "base"})
    residency.resize(None, 1.0)
    assert (+shown, residency.slots) == (Counter(), None)


def test_shown_without_slots_is_what_is_busy_or_waited_for() -> None:
    residency = Residency(10.0)
    residency.busy.update({"a@1": 2, "b@1": 0})
    waiting = lane("c@1")
    assert residency.shown([waiting], 0.0) == [
        {"adapter": "a@1", "in_flight": 2, "waiting": 0},
        {"adapter": "c@1", "in_flight": 0, "waiting": 0},
    ]
