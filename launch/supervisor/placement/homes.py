"""Which engines an adapter is to be on: every one, or those that the plan gives it. Pure and clockless."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from gateway.config.engine_settings import PlacementConfig
from gateway.placement.engine_place import EnginePlace
from gateway.placement.layout import Move
from gateway.placement.plan import plan
from gateway.placement.rules import Rules

TRIED_ON = 3
"""Engines on which an adapter may fail; then it is the adapter's fault, and no other is asked."""


@dataclass(frozen=True)
class EngineView:
    """One engine as it is now."""

    name: str
    slots: int | None
    ready: bool
    """It takes requests; else it is about to, for the first time."""
    holds: frozenset[str] = frozenset()
    """What is loaded and proven on it, and is not about to leave it."""
    failed: frozenset[str] = frozenset()
    """What could not be loaded or proven on it."""


@dataclass(frozen=True)
class Outlook:
    """Homes as they are to be, what leads there, and why."""

    planned: bool
    homes: Mapping[str, tuple[str, ...]]
    moves: tuple[Move, ...] = ()
    why: Mapping[str, str] = field(default_factory=dict)
    demand: Mapping[str, float] = field(default_factory=dict)
    """Tokens/s of each adapter, by which it was planned."""

    def on(self, engine: str) -> frozenset[str]:
        """The adapters that are to be there."""
        return frozenset(adapter_id for adapter_id, names in self.homes.items() if engine in names)


def is_planned(settings: PlacementConfig, engines: Sequence[EngineView], asked: Collection[str]) -> bool:
    """Whether adapters are on some engines alone; `asked` are those that requests go to."""
    if len(engines) < 2 or settings.policy == "everywhere":
        return False
    return settings.policy == "planned" or any(
        one.slots is not None and len(asked) > one.slots for one in engines
    )


def look_ahead(
    settings: PlacementConfig,
    engines: Sequence[EngineView],
    demand: Mapping[str, float],
    asked: Collection[str],
    moves_left: int,
) -> Outlook:
    """`demand`: tokens/s of every adapter that is wanted, 0 of one that is only kept."""
    names = tuple(one.name for one in engines)
    if not is_planned(settings, engines, asked):
        return Outlook(False, dict.fromkeys(demand, names), tuple(_everywhere(engines, demand)), {}, demand)
    rules = Rules(
        min_replicas=settings.min_replicas,
        max_moves=max(0, moves_left),
        engine_tokens_per_s=settings.engine_tokens_per_s or math.inf,
    )
    failures = Counter(each for one in engines for each in one.failed)
    hopeless = {each for each, count in failures.items() if count >= TRIED_ON}
    places = [
        EnginePlace(
            one.name,
            len(demand) if one.slots is None else one.slots,  # where not known, it turns none away
            one.holds & demand.keys(),
            one.failed | hopeless,
        )
        for one in engines
    ]
    found = plan(demand, places, rules)
    return Outlook(True, found.homes, found.moves, found.why, demand)


def _everywhere(engines: Sequence[EngineView], demand: Mapping[str, float]) -> list[Move]:
    return [
        Move(adapter_id, one.name, True, "all adapters have slots everywhere")
        for one in engines
        if one.ready
        for adapter_id in sorted(demand.keys() - one.holds)
    ]
