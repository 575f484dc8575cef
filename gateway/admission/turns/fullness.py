"""What is said where no more may wait, and who gives way then."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from gateway.admission.turns.pace import Pace
from gateway.admission.turns.queues import AdapterQueue, Gate, Waiter
from gateway.errors import TooManyRequests, Unavailable


def task_is_full(gate: Gate, waiting: int, now: float) -> TooManyRequests:
    """The 429 where so many wait for one task."""
    flying = f"{gate.in_flight} requests in flight and " if gate.in_flight else ""
    return TooManyRequests(
        f"'{gate.task}' has {flying}{waiting} waiting, the most that may.",
        retry_after_s=gate.pace.retry_after_s(waiting, now),
    )


def gateway_is_full(waiting: int, pace: Pace, now: float) -> Unavailable:
    """The 503 where so many wait in all."""
    return Unavailable(
        f"{waiting} requests are waiting already, the most that may.",
        code="overloaded",
        retry_after_s=pace.retry_after_s(waiting, now),
    )


def who_gives_way(lanes: Iterable[AdapterQueue], key: str) -> tuple[AdapterQueue, Waiter] | None:
    """Of those who wait in `lanes`, the newest request of the key that has most, for one of `key`.

    None where no key has at least two more than this one, so that two do not push each other out in turn.
    What was let in as part of something that has begun never gives way.
    """
    waiting: Counter[str] = Counter()
    by_key: dict[str, list[AdapterQueue]] = {}
    for lane in lanes:
        waiting[lane.owner.key] += len(lane.queue)
        by_key.setdefault(lane.owner.key, []).append(lane)
    greediest = max(waiting, key=lambda one: waiting[one], default=key)
    if waiting[greediest] <= waiting[key] + 1:
        return None
    for lane in sorted(by_key[greediest], key=lambda one: len(one.queue), reverse=True):
        for waiter in reversed(lane.queue):
            if not waiter.let_in and not waiter.admitted.done():
                return lane, waiter
    return None
