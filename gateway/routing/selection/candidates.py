"""The engines that may be asked, as `gateway.placement.choice` sees them, and where a prefix is at home."""

from __future__ import annotations

import random
import time
import zlib
from collections.abc import Sequence

import msgspec

from gateway.admission.turns.engine_slots import Able
from gateway.placement.choice import MOST_COMPARED, Candidate, choose
from gateway.routing.replica import Replica

PREFIX_BYTES = 2048
"""Of a prompt, what says which other prompts begin alike: a conversation's next turn has it too."""
DRAW = random.Random()
_BITS = (1 << 64) - 1


def prefix_of(prompt: msgspec.Raw | None) -> int | None:
    """For `pick`; None where the prompt is so short that it is not worth a longer queue."""
    if prompt is None:
        return None
    view = memoryview(prompt)
    return zlib.crc32(view[:PREFIX_BYTES]) if len(view) >= PREFIX_BYTES else None


def pick(able: Sequence[Replica], prefix: int | None = None) -> Replica:
    """Of replicas that all have the adapter; those that rest after a failure last."""
    if len(able) == 1:
        return able[0]
    now = time.monotonic()
    well = [one for one in able if one.ejected_until <= now] or able
    home = None if prefix is None else home_of(well, prefix)
    if len(well) > MOST_COMPARED:  # as `choose` would, before a candidate is made of each
        drawn = DRAW.sample(well, MOST_COMPARED)
        well = drawn if home is None or home in drawn else [home, *drawn]
    return _chosen([(one, True, one.in_flight(now), one is home) for one in well])


def seat(able: Sequence[tuple[Replica, Able]]) -> Replica:
    """Of replicas that have a slot for the adapter, where it may have to be loaded into that."""
    now = time.monotonic()
    well = [one for one in able if one[0].ejected_until <= now] or able
    return _chosen([(one, at.resident, max(one.in_flight(now), at.in_flight), False) for one, at in well])


def home_of(able: Sequence[Replica], prefix: int) -> Replica:
    """Where prompts with that prefix go: the same from every gateway, and moved only with its engine.

    Rendezvous hashing.
    """
    return max(able, key=lambda one: _mixed(one.seed << 32 | prefix))


def _mixed(number: int) -> int:
    """A hash of 64 bits, by SplitMix64's two multiplications; Python's own of integers is far from even."""
    number = number * 0x9E3779B97F4A7C15 & _BITS
    return (number ^ number >> 31) * 0xBF58476D1CE4E5B9 & _BITS


def _chosen(able: Sequence[tuple[Replica, bool, int, bool]]) -> Replica:
    """Of replicas, whether the adapter is resident there, what is in flight, and whether it is the home."""
    tokens = count = 0
    for one, *_ in able:
        tokens += one.visits.tokens
        count += one.visits.count
    each = tokens / count if count else 0.0
    candidates = [
        Candidate(
            one.name,
            resident,
            in_flight,
            # What is not counted, others' or from before, is as long as the rest, for all that is known.
            one.visits.tokens + max(0, in_flight - one.visits.count) * each,
            one.tokens_per_s,
            one.bound.limit,
            home,
        )
        for one, resident, in_flight, home in able
    ]
    chosen = choose(candidates, DRAW)
    return next(one for one, *_ in able if one.name == chosen.name)
