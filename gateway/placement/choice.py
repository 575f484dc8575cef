"""Which replica a request goes to: one that has its adapter, before all; of those where it waits least. Pure.

A replica without the adapter is taken only where the wait at those that have it is longer than its own and a
load together: whoever spreads an adapter over every idle engine evicts the others there, which do the same in
their turn. Who is at home with its prefix goes there as long as that is little fuller than the others
(consistent hashing with bounded load, arXiv 1608.01350).
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import msgspec

MOST_COMPARED = 8
"""So many replicas, drawn by chance, are compared at most. That spreads requests nearly as well as comparing
all, and several gateways, which hear of each other's requests late, do not all take the same one."""
HOME_MAY_HAVE = 1.25
"""A prefix's home is taken while it has at most this many times its share of the requests in flight."""
LOAD_S = 0.5
"""Assumed cost of bringing an adapter into a slot: it is read, and another one loses its slot."""
FULL_S = 1.0
"""Assumed wait for a seat at a full replica whose speed is not known."""


class Candidate(msgspec.Struct, frozen=True, gc=False):
    """A replica that may be asked for one adapter, as far as the caller knows it."""

    name: str
    resident: bool
    """The adapter is in one of its slots, or has one for sure."""
    in_flight: int
    queued_tokens: float
    """Of its requests in flight, their prompts' and those that they may yet be answered with."""
    tokens_per_s: float
    """What it does when it is full; 0 where that is not known."""
    limit: int
    """Requests that it runs at once."""
    prefix_home: bool = False
    """Requests that begin as this one does go here."""


def choose(candidates: Sequence[Candidate], draw: random.Random, load_s: float = LOAD_S) -> Candidate:
    """One of `candidates`, of which there must be one; those that are equally good by chance.

    `load_s`: what it costs to bring the adapter into a slot.
    """
    if len(candidates) == 1:
        return candidates[0]
    residents = [one for one in candidates if one.resident]
    if not residents:
        return _best(candidates, draw)
    best = _best(residents, draw)
    wait = wait_s(best)
    if wait <= load_s or len(residents) == len(candidates):
        return best
    other = _best([one for one in candidates if not one.resident], draw)
    return other if wait_s(other) + load_s < wait else best


def wait_s(candidate: Candidate) -> float:
    """For how long, as far as can be said, a request would wait there for a seat."""
    ahead = candidate.in_flight + 1 - candidate.limit
    if ahead <= 0:
        return 0.0
    if candidate.tokens_per_s <= 0 or candidate.queued_tokens <= 0:
        return FULL_S * ahead / candidate.limit
    all_s = candidate.queued_tokens / candidate.tokens_per_s
    return all_s * min(1.0, ahead / candidate.in_flight)


def _best(candidates: Sequence[Candidate], draw: random.Random) -> Candidate:
    """Of those alike in residency."""
    if len(candidates) == 1:
        return candidates[0]
    home = next((one for one in candidates if one.prefix_home), None)
    if home is not None and _has_room(home, candidates):
        return home
    if len(candidates) > MOST_COMPARED:
        candidates = draw.sample(candidates, MOST_COMPARED)
    in_flight = sum(one.in_flight for one in candidates)
    tokens_each = sum(one.queued_tokens for one in candidates) / in_flight if in_flight else 0.0
    ranks = [(wait_s(one), _fullness(one, tokens_each)) for one in candidates]
    least = min(ranks)
    equal = [one for one, rank in zip(candidates, ranks, strict=True) if rank == least]
    return equal[0] if len(equal) == 1 else draw.choice(equal)


def _fullness(candidate: Candidate, tokens_each: float) -> float:
    """Of its limit, what is in flight; by half in requests, by half in tokens, as requests of the mean."""
    requests = float(candidate.in_flight)
    if tokens_each:
        requests = (requests + candidate.queued_tokens / tokens_each) / 2
    return round(requests / candidate.limit, 9)  # what is equal stays so, however it was added up


def _has_room(home: Candidate, candidates: Sequence[Candidate]) -> bool:
    if home.in_flight >= home.limit:
        return False
    share = home.limit / sum(one.limit for one in candidates)
    expected = (sum(one.in_flight for one in candidates) + 1) * share
    return home.in_flight + 1 <= math.ceil(HOME_MAY_HAVE * expected)
