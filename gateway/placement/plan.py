"""Which engines each adapter is loaded on: what is there stays, and what must change does so by few moves.

A greedy: replicas that no traffic needs are given up, adapters get the homes that they lack, the hottest
first, then engines with more adapters than their share, and with more traffic than they can take, give some
away.
A home is left for one of these reasons alone, so that a plan of what a plan gave has no moves.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gateway.placement.engine_place import EnginePlace
from gateway.placement.homes import Finder
from gateway.placement.layout import Layout, Move
from gateway.placement.needs import Need, needs
from gateway.placement.rules import Rules
from gateway.placement.words import reason

REFUSED = "Each engine that could have it has failed to load or to prove it."
ROUNDING = 1e-9
"""Of a bound: two sums of the same shares may differ by so much."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The homes after `moves`, the first of each adapter's first, and in plain words why they are these."""

    homes: Mapping[str, tuple[str, ...]]
    moves: tuple[Move, ...]
    why: Mapping[str, str]


def plan(demand: Mapping[str, float], engines: Sequence[EnginePlace], rules: Rules) -> Plan:
    """Homes for every adapter of `demand`, whose values are tokens/s: 0 for one that is only kept.

    No engine has more adapters than slots, unless the slots of all are too few for `min_replicas` of each
    adapter, or moves are: then engines are filled in proportion to their slots, and the engine swaps.
    """
    places = [one for one in engines if one.slots > 0]
    layout = Layout(demand, places)
    held = {adapter_id: len(homes) for adapter_id, homes in layout.homes.items()}
    slots = sum(layout.slots.values())
    needed = needs(demand, held, len(places), slots, rules)
    planner = _Planner(layout, needed, rules, _quotas(layout, needed, slots))
    layout.unwanted(engines, "it is not wanted any more")
    if places:
        planner.work()
    homes = {adapter_id: tuple(found) for adapter_id, found in layout.homes.items()}
    why = {
        each: reason(demand[each], needed[each], found, rules) if found or not places else REFUSED
        for each, found in homes.items()
    }
    return Plan(homes, layout.moves, why)


def _quotas(layout: Layout, needed: Mapping[str, Need], slots: int) -> dict[str, int]:
    """Adapters that each engine may have: its slots, or its part of all where these are too few."""
    wanted = sum(min(max(len(layout.homes[each]), one.least), one.most) for each, one in needed.items())
    if wanted <= slots:
        return dict(layout.slots)
    return {name: math.ceil(wanted * count / slots) for name, count in layout.slots.items()}


class _Planner:
    def __init__(
        self, layout: Layout, needed: Mapping[str, Need], rules: Rules, quota: dict[str, int]
    ) -> None:
        self._layout = layout
        self._needed = needed
        self._rules = rules
        self._finder = Finder(layout, quota)
        self._loads_left = self._unloads_left = rules.max_moves
        self._floor = min(rules.min_replicas, len(layout.on))
        demand = layout.demand
        self._hottest_first = sorted(demand, key=lambda each: (-demand[each], each))

    def work(self) -> None:
        """All steps, as far as the moves go."""
        self._drop_surplus()
        for adapter_id in self._hottest_first:
            self._house(adapter_id)
        self._empty_overfull()
        self._ease_full()

    def _house(self, adapter_id: str) -> None:
        """The homes that it lacks, all of them: what is small fits in later, what is large does not."""
        homes = self._layout.homes[adapter_id]
        if not homes:
            self._give_first(adapter_id)
        for _ in range(self._needed[adapter_id].least - len(homes)):
            if self._loads_left <= 0:
                return
            if len(homes) < self._floor:
                self._give(adapter_id, f"every adapter has {self._floor} homes", surely=True)
            else:
                self._give(adapter_id, "its traffic is more than its homes should have of it")

    def _give_first(self, adapter_id: str) -> None:
        """A home for what has none: it counts as no move, and it is made where all are full too."""
        engine = self._finder.find(adapter_id) or self._emptiest(adapter_id)
        if engine is not None:
            self._load(adapter_id, engine, "no engine has it")

    def _emptiest(self, adapter_id: str) -> str | None:
        """By adapters for each slot, of those that may have it; None where none may."""
        closed = self._layout.closed_to(adapter_id)
        return min(
            (name for name in self._layout.on if name not in closed),
            key=lambda name: (self._layout.fullness(name), name),
            default=None,
        )

    def _give(self, adapter_id: str, why: str, *, surely: bool = False) -> None:
        """Another home; `surely`: also where others must make way for it, or share their slots with it."""
        engine = self._finder.find(adapter_id)
        if engine is None and surely:
            engine = self._made_way(adapter_id) or self._emptiest(adapter_id)
        if engine is not None:
            self._loads_left -= 1
            self._load(adapter_id, engine, why)

    def _made_way(self, adapter_id: str) -> str | None:
        """The engine that has room once others have moved."""
        way = self._finder.way(adapter_id)
        # One load more is for the adapter itself.
        if not way or len(way) >= self._loads_left or len(way) > self._unloads_left:
            return None
        for other, start, end in way:
            self._move(other, start, end, "it makes room for an adapter that can be nowhere else")
        return way[-1][1]

    def _drop_surplus(self) -> None:
        """Replicas beyond what may be kept; of its homes the engine is left that has the most to do."""
        for adapter_id in reversed(self._hottest_first):
            homes = self._layout.homes[adapter_id]
            # `homes` is the layout's own list, which gets shorter.
            while len(homes) > self._needed[adapter_id].most and self._unloads_left > 0:
                self._unloads_left -= 1
                self._unload(adapter_id, self._fullest(homes), "its traffic needs fewer homes")

    def _fullest(self, homes: Sequence[str]) -> str:
        """The home that is best left: one over its share first, then by load, then the last."""
        layout, finder = self._layout, self._finder
        return max(
            homes, key=lambda name: (finder.room(name) < 0, layout.tokens_per_s[name], homes.index(name))
        )

    def _empty_overfull(self) -> None:
        """From engines with more adapters than their share the least asked for go elsewhere."""
        layout, finder = self._layout, self._finder
        for engine in sorted(layout.on):
            over = -finder.room(engine)
            if over <= 0:
                continue
            coldest = sorted(layout.on[engine], key=lambda each: (layout.demand[each], each))
            for adapter_id in coldest:
                if over <= 0 or self._loads_left <= 0 or self._unloads_left <= 0:
                    break
                other = finder.find(adapter_id)
                if other is not None:
                    over -= 1
                    self._move(adapter_id, engine, other, f"{engine} has more adapters than its share")

    def _ease_full(self) -> None:
        """From engines with more traffic than they can take something goes to one that can take it."""
        limit = self._rules.full_engine * self._rules.engine_tokens_per_s
        if math.isinf(limit):
            return
        loads = self._layout.tokens_per_s
        for engine in sorted(loads, key=lambda name: (-loads[name], name)):
            while loads[engine] > limit * (1 + ROUNDING):
                if self._loads_left <= 0 or self._unloads_left <= 0 or not self._eased(engine, limit):
                    break

    def _eased(self, engine: str, limit: float) -> bool:
        """Whether something was moved off it: the largest share that another engine can take."""
        layout, loads = self._layout, self._layout.tokens_per_s
        shares = sorted(((layout.share(each), each) for each in layout.on[engine]), reverse=True)
        able = [name for name in layout.on if self._finder.room(name) > 0 and loads[name] < limit]
        least_load = min((loads[name] for name in able), default=math.inf)
        for share, adapter_id in shares:
            if least_load + share > limit * (1 - ROUNDING):
                continue
            fits = [
                name
                for name in able
                if name not in layout.closed_to(adapter_id) and loads[name] + share <= limit * (1 - ROUNDING)
            ]
            if share > 0 and fits:
                least = min(fits, key=lambda name: (loads[name], name))
                self._move(adapter_id, engine, least, f"{engine} has more traffic than it can take")
                return True
        return False

    def _move(self, adapter_id: str, start: str, end: str, why: str) -> None:
        self._loads_left -= 1
        self._unloads_left -= 1
        self._load(adapter_id, end, why)
        self._unload(adapter_id, start, why)

    def _load(self, adapter_id: str, engine: str, why: str) -> None:
        self._layout.load(adapter_id, engine, why)
        self._finder.changed(engine)

    def _unload(self, adapter_id: str, engine: str, why: str) -> None:
        self._layout.unload(adapter_id, engine, why)
        self._finder.changed(engine)
