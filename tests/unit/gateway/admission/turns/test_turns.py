"""Turns: who goes on when places come free, and what one that leaves gives back."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest

from gateway.admission.turns.fair_turns import Claimant, path_of, whose_of
from gateway.admission.turns.queues import AdapterQueue, Bound, Gate, Waiter
from gateway.admission.turns.residency import Residency
from gateway.admission.turns.turns import OVER_S, Turns
from gateway.errors import TooManyRequests
from tests.support.waiting import calls

pytestmark = pytest.mark.anyio


class House:
    """A gateway of so many places, all taken, and one task with as many."""

    def __init__(self, places: int, slots: int | None = None) -> None:
        self.now = 0.0
        self.whole = Bound(places, 100)
        self.gate = Gate("naming", places, 100)
        self.whole.in_flight = self.gate.in_flight = places
        self.residency = Residency(10.0)
        self.residency.resize(slots, self.now)
        self.counted: Counter[str] = Counter()
        self.turns = Turns(self.whole, self.residency, self.count, lambda: self.now)

    def count(self, task: str, change: int) -> None:
        self.whole.waiting += change
        self.counted[task] += change

    def comes(
        self, key: str = "", places: int = 1, cost: float = 1.0, adapter_id: str | None = None
    ) -> tuple[AdapterQueue, Waiter]:
        waiter = Waiter(places, cost, False)
        return self.turns.join(self.gate, adapter_id, whose_of("", key), waiter), waiter

    def free(self, places: int = 1) -> None:
        self.whole.in_flight -= places
        self.gate.in_flight -= places
        self.turns.go_on()


async def test_first_come_is_first_served_and_no_more_than_there_are_places() -> None:
    house = House(2)
    first, second, third = (house.comes()[1] for _ in range(3))
    assert (house.gate.waiting, house.counted["naming"]) == (3, 3)
    house.turns.go_on()
    assert not first.admitted.done()
    house.free(2)
    assert [one.admitted.done() for one in (first, second, third)] == [True, True, False]
    assert (house.whole.in_flight, house.gate.in_flight, house.counted["naming"]) == (2, 2, 1)
    assert house.residency.busy[None] == 2


async def test_keys_take_turns_by_what_they_have_had() -> None:
    house = House(1)
    heavy = [house.comes("heavy", cost=100.0)[1] for _ in range(3)]
    light = [house.comes("light", cost=1.0)[1] for _ in range(3)]
    waiting = {"heavy": heavy, "light": light}
    order: list[str] = []
    for _ in range(5):
        house.free()
        for name, waiters in waiting.items():
            order += [name for one in waiters if one.admitted.done()]
            waiters[:] = [one for one in waiters if not one.admitted.done()]
    assert order == ["heavy", "light", "light", "light", "heavy"]


async def test_one_of_several_places_gathers_them_and_gives_them_back_where_it_leaves() -> None:
    house = House(3)
    lane, large = house.comes(places=3)
    other_lane, other = house.comes("other", places=2)
    house.free()
    assert (large.taken, other.taken, house.whole.in_flight) == (1, 0, 3)
    house.turns.leave(lane, large)
    assert (large.taken, house.whole.in_flight, house.gate.in_flight) == (0, 2, 2)
    house.free()
    assert other.admitted.done()
    assert (house.whole.in_flight, house.turns.lanes, other_lane.gate.lanes) == (3, {}, {})
    _, third = house.comes("third", places=2)
    house.free()
    assert third.taken == 1  # nobody gathers before it any more


async def test_a_cancelled_waiter_holds_up_nobody() -> None:
    house = House(1)
    _, first = house.comes()
    _, second = house.comes()
    first.admitted.cancel()
    house.free()
    assert second.admitted.done()
    assert (house.gate.waiting, house.whole.in_flight) == (0, 1)


async def test_who_is_pushed_out_hears_the_refusal_and_whoever_cannot_be_raises_it() -> None:
    house = House(1)
    refusal = TooManyRequests("full")
    flood = [house.comes("flood")[1] for _ in range(2)]
    house.turns.push_out(house.turns.lanes, whose_of("", "other"), refusal)
    assert (flood[0].admitted.done(), flood[1].pushed_out, flood[1].admitted.exception()) == (
        False,
        True,
        refusal,
    )
    assert house.gate.waiting == 1
    with pytest.raises(TooManyRequests, match="full"):
        house.turns.push_out(house.turns.lanes, whose_of("", "other"), refusal)


async def test_a_waiter_for_a_slot_is_woken_when_a_residency_ends() -> None:
    house = House(2, slots=1)
    house.free(2)
    assert house.residency.admits("a@1", (), 0.0)
    house.residency.slots.leave("a@1")  # type: ignore[union-attr]
    _, waiter = house.comes(adapter_id="b@1")
    timer = house.turns._timer
    assert timer is not None
    assert timer.when() == pytest.approx(asyncio.get_running_loop().time() + 10.0, abs=1.0)
    assert not waiter.admitted.done()
    house.now = 10.0
    house.turns._due()
    assert waiter.admitted.done()
    timer.cancel()


async def test_who_waits_for_more_than_a_slot_is_not_looked_at_again_and_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    house = House(4, slots=1)
    house.residency.admits("naming@000000000000", house.turns.lanes, 0.0)
    house.residency.leave("naming@000000000000")
    full = Gate("full", 2, 100)
    full.in_flight = 1
    house.turns.join(full, None, whose_of("", ""), Waiter(2, 1.0, False))
    house.comes(places=2, adapter_id="naming@111111111111")
    house.free(2)
    assert house.turns.gathered == 1
    assert house.turns._timer is None, "another request gathers its places first"
    monkeypatch.setattr(house.residency, "due_in", lambda lanes, now: 0.0)
    house.turns.go_on()
    again = house.turns._timer
    assert again is not None, "of another engine a slot may be had later"
    assert again.when() > asyncio.get_running_loop().time() + OVER_S / 2, "not in a millisecond"


async def test_who_gathers_its_places_gives_way_to_nobody_that_lacks_places_too() -> None:
    """Each would wait for the other: one for its places, one for the slot."""
    house = House(4, slots=1)
    house.now = 20.0
    slots = house.residency.slots
    assert slots is not None
    assert slots.admit("a@1", 0.0, waited_for=False, contended=0)
    slots.residents["a@1"].spent = slots.quantum
    slots.leave("a@1")
    _, gathers = house.comes("first", places=2, adapter_id="a@1")
    house.free()
    _, other = house.comes("other", places=2, adapter_id="b@1")
    assert (gathers.taken, other.taken) == (1, 0)
    house.free()
    assert gathers.admitted.done()


async def test_a_thousand_keys_are_not_looked_at_for_one_place() -> None:
    house = House(1)
    for number in range(1000):
        house.comes(str(number))
    house.whole.max_in_flight = 10
    looked_at = calls(house.turns, "_admit_first")
    house.turns.go_on()
    assert not looked_at, "their task has no place"
    house.free()
    assert looked_at == [True]


async def test_an_adapter_that_may_not_go_is_asked_for_once_however_many_wait_for_it() -> None:
    house = House(500, slots=1)
    house.free(500)
    assert house.residency.admits("a@1", (), 0.0)
    for number in range(100):
        house.comes(str(number), adapter_id="b@1")
    admits = calls(house.residency, "admits")
    house.turns.go_on()
    assert admits == [False]


@pytest.mark.parametrize("seed", range(5))
async def test_the_order_is_that_of_all_whatever_has_moved_since(seed: int) -> None:
    chance, house = random.Random(seed), House(3)
    there: list[tuple[AdapterQueue, Waiter]] = []
    for _ in range(300):
        if chance.random() < 0.5:
            whose = whose_of(chance.choice(["", "acme"]), chance.choice("abcdef"))
            waiter = Waiter(1, chance.choice([1.0, 7.5, 300.0]), chance.random() < 0.3)
            there.append((house.turns.join(house.gate, None, whose, waiter), waiter))
        elif chance.random() < 0.7:
            house.free()
        elif there:
            house.turns.leave(*there[0])
        if chance.random() < 0.3:
            path = path_of(whose_of("acme", chance.choice("abcdef")), "naming")
            house.turns.owners.settles(path, *[chance.choice([-2.0, 1.0, 5.0])] * 2)
        there = [one for one in there if not one[1].admitted.done() and one[1] in one[0].queue]
        owners = {lane.owner for lane in house.turns.lanes}
        assert [*house.turns.owners.in_order()] == sorted(owners, key=rank)


def rank(owner: Claimant) -> list[float]:
    key = owner.outer
    assert key is not None
    tenant = key.outer
    assert tenant is not None
    return [
        *(value for one in (tenant, key) for value in (one.tag, one.waiting, one.since)),
        owner.tag,
        owner.since,
    ]
