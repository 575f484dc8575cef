"""Slots of several engines: a request goes where its adapter is, and takes no slot from who has none."""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Sequence
from typing import NamedTuple

import pytest

from gateway.admission.turns.engine_slots import Able, EngineRoom, EngineSlots, first_of

ALL = frozenset({"a@1", "b@1", "c@1", "d@1"})


class Rival(NamedTuple):
    adapter_id: str
    has_place: bool


class House:
    """Engines `x` and `y`, or others, and what was said of their slots."""

    def __init__(
        self, least_s: float = 0.0, seats: dict[str, int] | None = None, **rooms: EngineRoom
    ) -> None:
        self.moves: list[tuple[str, str, int, str]] = []
        self.asked: list[Sequence[Able]] = []
        self.wanted: str | None = None
        seats_of = seats.__getitem__ if seats else None
        self.slots = EngineSlots(least_s, lambda *moved: self.moves.append(moved), self.choose, seats_of)
        self.slots.follow(rooms or {"x": EngineRoom(1, ALL), "y": EngineRoom(1, ALL)})

    def choose(self, able: Sequence[Able]) -> str:
        self.asked.append(able)
        return self.wanted or first_of(able)

    def goes(self, adapter_id: str, *waiting: str, now: float = 0.0, new: bool = True) -> str | None:
        rivals = [Rival(one, True) for one in waiting]
        if not self.slots.admit(adapter_id, rivals, now, new=new):
            return None
        engine = self.slots.take(adapter_id)
        assert engine is not None
        return engine


def test_two_adapters_are_at_two_engines_and_each_stays_where_it_is() -> None:
    house = House()
    assert [house.goes("a@1"), house.goes("b@1")] == ["x", "y"]
    assert [house.goes("a@1"), house.goes("b@1")] == ["x", "y"]
    assert house.goes("c@1") is None  # both are busy
    house.slots.leave("b@1", "y")
    house.slots.leave("b@1", "y")
    assert house.goes("c@1") == "y"
    assert house.slots.where("b@1") == []


def test_what_is_loaded_on_one_engine_goes_to_no_other() -> None:
    house = House(x=EngineRoom(1, frozenset({"a@1"})), y=EngineRoom(1, frozenset({"b@1"})))
    assert [house.goes("b@1"), house.goes("a@1"), house.goes("c@1")] == ["y", "x", None]


def test_a_second_slot_is_a_choice_between_waiting_and_loading() -> None:
    house = House()
    assert house.goes("a@1") == "x"
    house.wanted = "y"
    assert house.goes("a@1") == "y"
    assert house.asked[-1] == [("x", True, 1), ("y", False, 0)]
    assert house.slots.where("a@1") == ["x", "y"]


def test_nobody_takes_a_second_slot_before_who_waits_for_a_first() -> None:
    house = House()
    assert house.goes("a@1") == "x"
    house.wanted = "y"
    assert house.goes("a@1", "b@1", new=False) == "x"
    house.wanted = None
    assert house.goes("b@1", new=False) == "y"


def test_a_new_request_takes_no_slot_before_who_waits() -> None:
    house = House()
    assert house.goes("a@1", "b@1") is None
    assert house.goes("a@1", "b@1", new=False) is not None


def test_where_a_slot_is_free_nobody_is_evicted() -> None:
    house = House()
    assert house.goes("a@1") == "x"
    house.slots.leave("a@1", "x")
    assert house.goes("b@1", now=9.0) == "y"
    assert house.slots.where("a@1") == ["x"]


def test_nobody_goes_to_an_engine_without_a_seat() -> None:
    house = House(seats={"x": 2}, x=EngineRoom(2, ALL))
    assert [house.goes("a@1"), house.goes("a@1"), house.goes("a@1"), house.goes("b@1")] == [
        "x",
        "x",
        None,
        None,
    ]
    house.slots.leave("a@1", "x")
    assert house.goes("b@1") == "x"
    assert house.slots.due_in([Rival("c@1", True)], 99.0) is None  # the end of a request wakes who waits


def test_whose_engines_are_full_takes_another_slot_as_who_has_none() -> None:
    house = House(least_s=1.0, seats={"x": 1, "y": 9})
    assert [house.goes("b@1"), house.goes("a@1")] == ["x", "y"]
    house.slots.leave("a@1", "y")
    assert house.goes("b@1", "c@1", new=False, now=5.0) == "y"  # in its turn, though `c` waits too
    assert house.slots.where("b@1") == ["x", "y"]


def test_who_waits_elsewhere_ends_no_turn_here() -> None:
    """`c` is loaded on `y` alone: that it waits is no reason for `a` to leave `x`."""
    house = House(x=EngineRoom(1, frozenset({"a@1"})), y=EngineRoom(1, frozenset({"b@1", "c@1"})))
    assert house.goes("b@1") == "y"
    for _ in range(50):
        assert house.goes("a@1", "c@1") == "x"
    assert {house.goes("b@1", "c@1") for _ in range(50)} == {"y", None}  # its turn there is over


def test_an_engine_that_goes_takes_its_residents_with_it() -> None:
    house = House()
    assert house.goes("a@1") == "x"
    house.slots.follow({"y": EngineRoom(1, ALL), "z": EngineRoom(1, ALL)})
    assert house.slots.where("a@1") == []
    assert house.moves[-1] == ("x", "a@1", -1, "restart")
    house.slots.leave("a@1", "x")
    assert house.goes("a@1") == "y"


def test_an_adapter_that_moves_away_leaves_its_slot_once_nothing_is_in_flight() -> None:
    house = House()
    assert house.goes("a@1") == "x"
    house.slots.follow({"x": EngineRoom(1, ALL - {"a@1"}), "y": EngineRoom(1, ALL)})
    assert house.slots.where("a@1") == ["x"]
    house.slots.leave("a@1", "x")
    assert (house.slots.where("a@1"), house.moves[-1]) == ([], ("x", "a@1", -1, "moved"))
    assert house.goes("a@1") == "y"


def test_seats_of_one_adapter_are_handed_out_once_each() -> None:
    house = House()
    house.wanted = "x"
    assert house.slots.admit("a@1", (), 0.0, new=True)
    house.wanted = "y"
    assert house.slots.admit("a@1", (), 0.0, new=True)
    assert [house.slots.take("a@1") for _ in range(3)] == ["x", "y", None]


def test_the_moment_to_look_again_is_that_of_an_engine_that_is_waited_for() -> None:
    house = House(10.0, x=EngineRoom(1, frozenset({"a@1", "c@1"})), y=EngineRoom(1, frozenset({"b@1"})))
    house.goes("b@1", now=0.0)
    house.goes("a@1", now=4.0)
    house.slots.leave("a@1", "x")
    house.slots.leave("b@1", "y")
    assert house.slots.due_in([Rival("c@1", True)], 5.0) == 9.0
    assert house.slots.due_in([Rival("c@1", False)], 5.0) is None
    assert house.slots.due_in([], 5.0) is None


@pytest.mark.parametrize("seed", range(8))
def test_with_any_traffic_slots_hold_and_everybody_has_a_turn(seed: int) -> None:
    """Engines never meet more adapters in flight than slots, and no queue waits for ever."""
    draw = random.Random(seed)
    ids = [f"{letter}@1" for letter in "abcdefghij"]
    rooms = {
        f"e{number}": EngineRoom(draw.randint(1, 3), frozenset(draw.sample(ids, 7)) | set(ids[number::3]))
        for number in range(3)
    }
    house = House(1.0, None, **rooms)
    queues = {one: deque[int]() for one in ids}
    flying: list[tuple[float, str, str]] = []
    now, served, longest = 0.0, Counter[str](), 0.0
    for step in range(4000):
        now += 0.05
        hot = draw.choice(ids[:2]) if draw.random() < 0.6 else draw.choice(ids)
        if step < 3000 and step % 2:
            queues[hot].append(step)
        for one in [each for each in flying if each[0] <= now]:
            flying.remove(one)
            house.slots.leave(one[1], one[2])
        for adapter_id in sorted(ids, key=lambda one: (served[one], one)):
            queue = queues[adapter_id]
            rivals = [other for other in ids if other != adapter_id and queues[other]]
            while queue and len(flying) < 12:
                engine = house.goes(adapter_id, *rivals, now=now, new=False)
                if engine is None:
                    break
                longest = max(longest, now - queue.popleft() * 0.05)
                served[adapter_id] += 1
                flying.append((now + draw.uniform(0.1, 1.0), adapter_id, engine))
        at = Counter(engine for engine, _ in {(engine, one) for _, one, engine in flying})
        assert all(at[name] <= room.slots for name, room in rooms.items())
    assert not any(queues.values())
    assert sum(served.values()) == 1500
    assert longest < 20.0
