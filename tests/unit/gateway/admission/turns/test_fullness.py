"""A full queue: what is said, and who gives way."""

from __future__ import annotations

import asyncio

from gateway.admission.turns.fair_turns import Claimant
from gateway.admission.turns.fullness import gateway_is_full, task_is_full, who_gives_way
from gateway.admission.turns.pace import Pace
from gateway.admission.turns.queues import Gate, Waiter


def test_who_gives_way_is_the_newest_of_the_key_with_the_most() -> None:
    async def work() -> None:
        gate = Gate("naming", 1, 9)
        lanes = [gate.add(None, Claimant(key, 0.0)) for key in ("a", "b")]
        for lane, count in zip(lanes, (3, 2), strict=True):
            lane.queue.extend(Waiter(1, 1.0, False) for _ in range(count))
        assert who_gives_way(lanes, "c") == (lanes[0], lanes[0].queue[-1])
        assert who_gives_way(lanes, "b") is None  # two more, or they would push each other out in turn
        for waiter in lanes[0].queue:
            waiter.let_in = True
        assert who_gives_way(lanes, "c") is None

    asyncio.run(work())


def test_refusals_say_what_is_full_and_when_to_come_again() -> None:
    gate = Gate("naming", 1, 9)
    gate.pace.begins(0.0)
    gate.pace.lets_in(10.0)
    refused = task_is_full(gate, 3, 10.0)
    assert (refused.status, "'naming' has 3 waiting" in refused.message) == (429, True)
    assert 30 <= (refused.retry_after_s or 0) <= 36
    full = gateway_is_full(5, Pace(), 0.0)
    assert (full.status, full.code, full.retry_after_s) == (503, "overloaded", 1)
