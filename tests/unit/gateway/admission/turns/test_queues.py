"""Gates and lanes: whether there is a place, and which queue needs a slot."""

from __future__ import annotations

import pytest

from gateway.admission.turns.fair_turns import Claimant, Shares, path_of, whose_of
from gateway.admission.turns.queues import AdapterQueue, Gate, Waiter

pytestmark = pytest.mark.anyio


def owner(key: str, tenant: str = "") -> Claimant:
    return Shares().joins(path_of(whose_of(tenant, key), "naming"))


NOBODY = owner("")


def test_there_is_a_place_while_fewer_are_in_flight_than_may_be() -> None:
    gate = Gate("naming", 2, 5)
    assert gate.has_place
    gate.in_flight = 2
    assert not gate.has_place
    gate.max_in_flight = 3
    assert gate.has_place


def test_adapter_takes_a_slot_and_the_base_none() -> None:
    gate = Gate("x", 1, 1)
    assert AdapterQueue(gate, "naming@1", NOBODY).takes_slot
    assert not AdapterQueue(gate, "base", NOBODY).takes_slot
    assert not AdapterQueue(gate, None, NOBODY).takes_slot


async def test_waiter_waits_until_it_is_admitted() -> None:
    waiter = Waiter(3, 3.0, False)
    assert (waiter.places, waiter.taken, waiter.admitted.done()) == (3, 0, False)
    waiter.admitted.set_result(None)
    await waiter.admitted


def test_lanes_of_a_gate_are_dropped_with_the_last_key() -> None:
    gate = Gate("naming", 1, 9)
    lanes = [gate.add("naming@1", owner(key)) for key in ("a", "b")]
    gate.drop(lanes[0])
    assert list(gate.lanes) == ["naming@1"]
    gate.drop(lanes[1])
    assert not gate.lanes


def test_a_lane_knows_whose_it_is() -> None:
    gate = Gate("naming", 1, 9)
    assert AdapterQueue(gate, None, owner("a", "acme")).whose == ("acme", "a")
    assert AdapterQueue(gate, None, owner("a")).whose == whose_of("", "a") != ("a", "a")
