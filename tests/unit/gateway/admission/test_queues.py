"""Gates and lanes: whether there is a place, and which queue needs a slot."""

from __future__ import annotations

import asyncio

from gateway.admission.queues import AdapterQueue, Gate, Waiter


def test_lane_has_a_place_while_its_gate_has_one() -> None:
    gate = Gate("naming", 2, 5)
    lane = AdapterQueue(gate, "naming@1")
    assert lane.has_place
    gate.in_flight = 2
    assert not lane.has_place
    gate.max_in_flight = 3
    assert lane.has_place


def test_adapter_takes_a_slot_and_the_base_none() -> None:
    gate = Gate("x", 1, 1)
    assert AdapterQueue(gate, "naming@1").takes_slot
    assert not AdapterQueue(gate, "base").takes_slot
    assert not AdapterQueue(gate, None).takes_slot


def test_waiter_waits_until_it_is_admitted() -> None:
    async def work() -> None:
        waiter = Waiter(3)
        assert (waiter.places, waiter.taken, waiter.admitted.done()) == (3, 0, False)
        waiter.admitted.set_result(None)
        await waiter.admitted

    asyncio.run(work())
