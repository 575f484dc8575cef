"""What is said where no more may wait, and who gives way then."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping

from gateway.admission.turns.fair_turns import Whose
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


def comes_too_late(
    task: str, waiting: int, wait_s: float, longest_s: float, left_s: float
) -> DeadlineUnreachable:
    """The 429 for a wait of `wait_s` where it may be `longest_s`, so that the answer is there in `left_s`."""
    return DeadlineUnreachable(
        f"'{task}' has {waiting} waiting, and the client waits for {max(0.0, left_s):.1f} s, too "
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


def waiting_by(lanes: Iterable[AdapterQueue]) -> Counter[Whose]:
    """How many wait in `lanes`, by whose they are."""
    waiting: Counter[Whose] = Counter()
    for lane in lanes:
        waiting[lane.whose] += len(lane.queue)
    return waiting


def ahead_of(waiting: Mapping[Whose, int], whose: Whose) -> int:
    """Of those who wait, how many go before a new request of that key, where all cost the same."""
    tenant, _ = whose
    mine = waiting.get(whose, 0)
    others: Counter[str] = Counter()
    beside = 0
    for (name, key), count in waiting.items():
        if name != tenant:
            others[name] += count
        elif (name, key) != whose:
            beside += min(count, mine + 1)
    mine += beside
    return mine + sum(min(count, mine + 1) for count in others.values())


def greediest(waiting: Mapping[Whose, int], whose: Whose) -> Whose | None:
    """Whose newest request gives way to one of `whose`: of the tenant that has most waiting the key that has.

    Of one's own tenant, where no other has more. None where nobody has at least two more, so that two do not
    push each other out in turn.
    """
    tenants: Counter[str] = Counter()
    for (tenant, _), count in waiting.items():
        tenants[tenant] += count
    own = whose[0]
    most = max(tenants, key=lambda name: tenants[name], default=own)
    if most == own or tenants[most] <= tenants[own] + 1:
        most, least = own, waiting.get(whose, 0) + 1
    else:
        least = 0
    keys = {one: count for one, count in waiting.items() if one[0] == most}
    found = max(keys, key=lambda one: keys[one], default=whose)
    return found if keys.get(found, 0) > least else None


def who_gives_way(lanes: Iterable[AdapterQueue], whose: Whose) -> tuple[AdapterQueue, Waiter] | None:
    """Of those who wait in `lanes`, the newest request of the greediest key; None where nobody gives way.

    What was let in as part of something that has begun never gives way.
    """
    lanes = list(lanes)
    found = greediest(waiting_by(lanes), whose)
    if found is None:
        return None
    own = [lane for lane in lanes if lane.whose == found]
    for lane in sorted(own, key=lambda one: len(one.queue), reverse=True):
        for waiter in reversed(lane.queue):
            # Who leaves just now is counted yet, and gives way by itself.
            if not waiter.let_in and not waiter.admitted.done():
                return lane, waiter
    return None
