"""Residency: who may go to the engine beside those that wait, and what is shown of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from gateway.admission.turns.engine_slots import EngineRoom
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

    def resident(name: str, change: int, why: str) -> None:
        shown[name] += change

    residency = Residency(10.0, resident)
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


def test_why_an_adapter_takes_a_slot_is_why_it_had_none() -> None:
    moves: list[tuple[str, int, str]] = []
    residency = Residency(0.0, lambda *moved: moves.append(moved))
    residency.resize(1, 0.0)

    def use(adapter_id: str) -> None:
        assert residency.admits(adapter_id, (), 0.0)
        assert residency.slots is not None
        residency.slots.leave(adapter_id)

    use("a@1")
    use("b@1")
    use("a@1")
    assert moves == [
        ("a@1", 1, "first_use"),
        ("a@1", -1, "evicted"),
        ("b@1", 1, "first_use"),
        ("b@1", -1, "evicted"),
        ("a@1", 1, "evicted"),
    ]
    moves.clear()
    for why in ("restart", "all_fit"):
        residency.resize(None, 1.0, why)
        assert not residency.lacks_slot("b@1")
        residency.resize(1, 1.0)
        assert residency.lacks_slot("b@1")
        use("a@1")
    assert moves == [
        ("a@1", -1, "restart"),
        ("a@1", 1, "restart"),
        ("a@1", -1, "all_fit"),
        ("a@1", 1, "all_fit"),
    ]
    assert not residency.lacks_slot("a@1")
    assert not residency.lacks_slot("base")
    assert not residency.lacks_slot(None)


class Walked(list[AdapterQueue]):
    """Counts how many were looked at."""

    looks = 0

    def __iter__(self) -> Iterator[AdapterQueue]:
        for each in super().__iter__():
            self.looks += 1
            yield each


@pytest.mark.parametrize("engines", [1, 2])
def test_a_look_at_who_waits_ends_with_the_first_that_lacks_a_slot(engines: int) -> None:
    """Each that waits is asked at each end of a request: whoever looked at all others would take n x n."""
    residency = Residency(10.0)
    ids = [f"{number}@1" for number in range(200)]
    lanes = Walked(lane(one) for one in ids)
    if engines == 1:
        residency.resize(1, 0.0)
    else:
        residency.follow({name: EngineRoom(1, frozenset(ids)) for name in "xy"})
    for one in ids:
        residency.admits(one, lanes, 0.0)
    assert lanes.looks < 200 * engines * 5
