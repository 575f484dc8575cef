"""What is said where no more may wait, and who gives way then."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable

from gateway.admission.turns.pace import Pace
from gateway.admission.turns.queues import AdapterQueue, Gate, Waiter
from gateway.errors import DeadlineUnreachable, TooManyRequests, Unavailable


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


def comes_too_late(gate: Gate, wait_s: float, longest_s: float, left_s: float) -> DeadlineUnreachable:
    """The 429 for a wait of `wait_s` where it may be `longest_s`, so that the answer is there in `left_s`."""
    return DeadlineUnreachable(
        f"'{gate.task}' has {gate.waiting} waiting, and the client waits for {max(0.0, left_s):.1f} s, too "
        "short a time for its turn and its answer.",
        retry_after_s=max(1, math.ceil(wait_s - longest_s)),
    )


def waits_too_long(wait_s: float, longest_s: float) -> Unavailable:
    """The 503 for a wait of `wait_s` where none may be longer than `longest_s`."""
    return Unavailable(
        f"A place would come free in {wait_s:.0f} s, and none is waited for longer than {longest_s:.0f} s "
        "(gateway.queue_timeout_s).",
        code="overloaded",
        retry_after_s=max(1, math.ceil(wait_s - longest_s)),
    )


def ahead_of(lanes: Iterable[AdapterQueue], key: str) -> int:
    """Of those who wait in `lanes`, how many go before a new request of `key`, where all cost the same."""
    waiting: Counter[str] = Counter()
    for lane in lanes:
        waiting[lane.owner.key] += len(lane.queue)
    own = waiting.pop(key, 0)
    return own + sum(min(count, own + 1) for count in waiting.values())


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
