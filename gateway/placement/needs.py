"""How many replicas each adapter needs: what its traffic asks for, and what the slots allow."""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping
from dataclasses import dataclass

from gateway.placement.rules import Rules

LOYALTY = 1.3
"""Where slots are too few for what is wanted, a replica that is there counts for so much more than one that
is not: else two adapters of nearly the same traffic would take a slot from each other in turn."""


@dataclass(frozen=True, slots=True)
class Need:
    """Of one adapter: how many replicas it is given, and how many it may keep where it has them."""

    least: int
    most: int


def needs(
    demand: Mapping[str, float], held: Mapping[str, int], engines: int, slots: int, rules: Rules
) -> dict[str, Need]:
    """Adapter → its need; `held` are the replicas that it has, `slots` those of all engines together.

    Where the slots are enough for `min_replicas` of all, what traffic asks for beyond it shares what is left,
    by tokens/s for each replica. Where they are not, slots are shared anyhow, and all get what they need.
    """
    floor = min(rules.min_replicas, engines)
    wanted = {each: _need(tokens_per_s, floor, engines, rules) for each, tokens_per_s in demand.items()}
    spare = slots - floor * len(wanted)
    least = sum(one.least for one in wanted.values()) - floor * len(wanted)
    if spare < 0:
        return wanted
    if least > spare:
        return _shared_out(demand, held, wanted, floor, spare)
    kept = sum(min(max(held.get(each, 0), one.least), one.most) for each, one in wanted.items())
    if kept > slots:  # what may be kept stands in the way of what is needed
        return {each: Need(one.least, one.least) for each, one in wanted.items()}
    return wanted


def _need(tokens_per_s: float, floor: int, engines: int, rules: Rules) -> Need:
    if tokens_per_s <= 0 or math.isinf(rules.engine_tokens_per_s):
        return Need(floor, floor)
    least = math.ceil(tokens_per_s / (rules.engine_tokens_per_s * rules.fullest_share))
    most = math.floor(tokens_per_s / (rules.engine_tokens_per_s * rules.spare_share)) + 1
    least = min(max(least, floor), engines)
    return Need(least, min(max(most, least), engines))


def _shared_out(
    demand: Mapping[str, float], held: Mapping[str, int], wanted: Mapping[str, Need], floor: int, spare: int
) -> dict[str, Need]:
    """The spare slots one by one to whom they help most (D'Hondt), up to what it needs."""
    given = dict.fromkeys(wanted, floor)

    def worth(each: str) -> float:
        loyal = LOYALTY if given[each] < held.get(each, 0) else 1.0
        return demand[each] * loyal / (given[each] + 1)

    queue = [(-worth(each), each) for each, one in wanted.items() if one.least > floor]
    heapq.heapify(queue)
    while spare > 0 and queue:
        _, each = heapq.heappop(queue)
        given[each] += 1
        spare -= 1
        if given[each] < wanted[each].least:
            heapq.heappush(queue, (-worth(each), each))
    return {each: Need(count, count) for each, count in given.items()}
