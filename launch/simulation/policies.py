"""Which replica a request goes to as soon as it comes, as others do it; there the engine decides alone."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Protocol

from gateway.errors import ConfigError
from gateway.placement.rendezvous import ranking
from launch.simulation.engine import SimulatedEngine
from launch.simulation.request import Request


class Policy(Protocol):
    """One way to choose; it may keep a state of its own."""

    def replica(self, request: Request) -> int: ...


class RoundRobin:
    """Each replica in turn, whatever it holds or does."""

    def __init__(self, engines: Sequence[SimulatedEngine]) -> None:
        self._count = len(engines)
        self._last = -1

    def replica(self, request: Request) -> int:
        self._last = (self._last + 1) % self._count
        return self._last


class LeastLoaded:
    """The fewest requests in flight, by chance where several have as few."""

    def __init__(self, engines: Sequence[SimulatedEngine], chance: random.Random) -> None:
        self._engines = engines
        self._chance = chance

    def replica(self, request: Request) -> int:
        return self._least(range(len(self._engines)))

    def _least(self, able: Sequence[int]) -> int:
        counts = [self._engines[number].in_flight for number in able]
        least = min(counts)
        return self._chance.choice(
            [number for number, count in zip(able, counts, strict=True) if count == least]
        )


class Affinity(LeastLoaded):
    """The least loaded of those that have the adapter in a slot, as long as one has a seat; else of all."""

    def replica(self, request: Request) -> int:
        adapter = request.adapter
        holding = [
            number
            for number, one in enumerate(self._engines)
            if adapter in one.resident and one.in_flight < one.speed.seats
        ]
        return self._least(holding or range(len(self._engines)))


class Hashing:
    """Rendezvous hashing: each adapter has one replica."""

    def __init__(self, engines: Sequence[SimulatedEngine], adapters: Sequence[str]) -> None:
        numbers = {one.name: number for number, one in enumerate(engines)}
        names = list(numbers)
        self._home = {adapter: numbers[ranking(adapter, names)[0]] for adapter in adapters}

    def replica(self, request: Request) -> int:
        return self._home[request.adapter]


OURS, LEAST_LOADED = "lora-gateway", "least-loaded"
NAMES: Mapping[str, str] = {
    OURS: "placed by traffic, a slot in turn, routed by residency and wait",
    "round-robin": "one replica after the other",
    LEAST_LOADED: "the fewest requests in flight",
    "affinity": "the least loaded that has the adapter in a slot",
    "rendezvous": "one replica for each adapter, by hashing",
}


ALONE, ANY_SLOT = "alone", "any-slot"
BOUNDS: Mapping[str, str] = {
    ALONE: "each by itself on an idle engine that has its adapter: nobody's first token is sooner",
    ANY_SLOT: "least-loaded on engines with a slot for every adapter: what seats and prompts alone cost",
}
"""What others may be held against; neither is a policy that anybody could have."""


def policy_of(
    named: str, engines: Sequence[SimulatedEngine], adapters: Sequence[str], chance: random.Random
) -> Policy:
    """One of `NAMES` that is not ours. Raises ConfigError for another."""
    if named == "round-robin":
        return RoundRobin(engines)
    if named == LEAST_LOADED:
        return LeastLoaded(engines, chance)
    if named == "affinity":
        return Affinity(engines, chance)
    if named == "rendezvous":
        return Hashing(engines, adapters)
    raise ConfigError("--policy", named, f"must be one of {', '.join(NAMES)}")
