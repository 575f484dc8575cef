"""A published comparison of placements, played again: 100 adapters, 8 replicas of 4 slots, 200 ticks.

NVIDIA's Dynamo publishes (March 2026) how many adapters its placements load and unload in all: 35,658 at
random, about 250 by rendezvous hashing, about 98 by min-cost flow. Requests come by Zipf's law and Poisson's,
40 a tick of 3 s; what counts is what was asked for in the last 90 s. Its draws cannot be had here, its laws
can. `python -m launch.simulation.published 42 1 2` prints ours for these seeds.
"""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass

from gateway.placement.engine_place import EnginePlace
from gateway.placement.plan import plan
from gateway.placement.rendezvous import ranking
from gateway.placement.rules import Rules
from launch.simulation.min_cost_flow import FlowProblem, least_cost

ADAPTERS = [f"lora-{number:03}" for number in range(100)]
ENGINES = [f"engine-{number}" for number in range(8)]
SLOTS = 4
ALL_SLOTS = len(ENGINES) * SLOTS
TICKS = 200
ASKED_IN_TICK = 40.0
WINDOW = 30
"""Ticks for which a request counts."""
LOYALTY = 4.0
"""Where only as many adapters have a place as there are slots: how much more a newcomer must be asked for."""
LOAD_COST, KEEP_COST = 1000, -250
"""Of a replica in a min-cost flow, as in the published solver's code; to it comes an engine's place in the
adapter's order by rendezvous hashing."""

Homes = Mapping[str, Sequence[str]]
Counts = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Churn:
    """Of all ticks: homes made and given up, of them those of adapters that had none ever before."""

    placement: str
    changes: int
    first_homes: int
    adapters: int
    """That had a home at the end."""
    quiet_ticks: int
    hits: float
    """Of the requests, those that find their adapter in a slot: 4 a replica, the longest unused leaves."""


def compare(seed: int) -> list[Churn]:
    """Each placement under the same requests."""
    asked = _asked(seed)
    windows = [_window(asked, tick) for tick in range(TICKS)]
    chance = random.Random(seed)
    return [
        _churn("random", asked, [_at_random(window, chance) for window in windows]),
        _churn("rendezvous hashing", asked, [_hashed(window) for window in windows]),
        _churn("min-cost flow, replicas by traffic", asked, _flowed(windows)),
        _churn("min-cost flow, as many adapters as slots", asked, _flowed(windows, keep=ALL_SLOTS)),
        _churn("the plan, every adapter kept", asked, _planned(windows)),
        _churn("the plan, as many adapters as slots", asked, _planned(windows, keep=ALL_SLOTS)),
    ]


def _asked(seed: int) -> list[Counts]:
    chance = random.Random(seed)
    whole = sum(1 / rank for rank in range(1, len(ADAPTERS) + 1))
    means = [ASKED_IN_TICK / (rank * whole) for rank in range(1, len(ADAPTERS) + 1)]
    drawn = [[_poisson(mean, chance) for _ in range(TICKS)] for mean in means]
    return [{name: drawn[place][tick] for place, name in enumerate(ADAPTERS)} for tick in range(TICKS)]


def _poisson(mean: float, chance: random.Random) -> int:
    # Knuth's way, one draw for each that comes: the means here are under 8.
    count, product, least = 0, chance.random(), math.exp(-mean)
    while product >= least:
        count, product = count + 1, product * chance.random()
    return count


def _window(asked: Sequence[Counts], tick: int) -> dict[str, int]:
    some = asked[max(0, tick - WINDOW + 1) : tick + 1]
    sums = {name: sum(one[name] for one in some) for name in ADAPTERS}
    return {name: count for name, count in sums.items() if count}


def _replicas(window: Counts) -> dict[str, int]:
    """As published: in proportion to what is asked, as many as there are slots, one at the least."""
    hottest = sorted(window, key=lambda name: (-window[name], name))[:ALL_SLOTS]
    whole = sum(window[name] for name in hottest)
    raw = {name: min(max(math.ceil(window[name] / whole * ALL_SLOTS), 1), len(ENGINES)) for name in hottest}
    scale = min(1.0, ALL_SLOTS / sum(raw.values()))
    counts = {name: max(1, math.floor(count * scale)) for name, count in raw.items()}
    return counts | {name: 1 for name in window if name not in counts}


def _at_random(window: Counts, chance: random.Random) -> Homes:
    """Every tick anew; who is not asked for has one home too."""
    counts = _replicas(window)
    return {name: chance.sample(ENGINES, counts.get(name, 1)) for name in ADAPTERS}


def _hashed(window: Counts) -> Homes:
    return {name: ranking(name, ENGINES)[:count] for name, count in _replicas(window).items()}


def _flowed(windows: Sequence[Counts], keep: int | None = None) -> Iterator[Homes]:
    """By min-cost flow from the homes before: replicas by traffic, or one of the `keep` asked for most.

    Whoever finds no slot has no home; of equals the one asked for most goes first.
    """
    homes: dict[str, list[str]] = {}
    for window in windows:
        kept = homes.keys()
        counts = _replicas(window) if keep is None else dict.fromkeys(most_asked(window, kept, keep), 1)
        costs = {
            name: {
                engine: place + (KEEP_COST if engine in homes.get(name, ()) else LOAD_COST)
                for place, engine in enumerate(ranking(name, ENGINES))
            }
            for name in counts
        }
        hottest_first = {
            name: counts[name] for name in sorted(counts, key=lambda name: (-window[name], name))
        }
        flow = least_cost(FlowProblem(hottest_first, dict.fromkeys(ENGINES, SLOTS), costs, crowding=1))
        homes = {name: sorted(found) for name, found in flow.items() if found}
        yield homes


def _planned(windows: Sequence[Counts], keep: int | None = None) -> Iterator[Homes]:
    """Homes by `gateway.placement.plan`: of all adapters, or of the `keep` that are asked for most."""
    holds: dict[str, set[str]] = {name: set() for name in ENGINES}
    for window in windows:
        kept = set().union(*holds.values())
        wanted = ADAPTERS if keep is None else most_asked(window, kept, keep)
        demand = {name: float(window.get(name, 0)) for name in wanted}
        made = plan(
            demand, [EnginePlace(name, SLOTS, frozenset(held)) for name, held in holds.items()], Rules()
        )
        for move in made.moves:
            change = holds[move.engine].add if move.load else holds[move.engine].remove
            change(move.adapter_id)
        yield made.homes


def most_asked(window: Counts, kept: Set[str], count: int) -> list[str]:
    """Those asked for most; one that is kept counts `LOYALTY` times."""
    return sorted(window, key=lambda name: (-window[name] * (LOYALTY if name in kept else 1), name))[:count]


def _churn(named: str, asked: Sequence[Counts], ticks: Iterable[Homes]) -> Churn:
    before: Homes = {}
    seen: set[str] = set()
    changes = firsts = quiet = 0
    slots = _Slots()
    for counts, homes in zip(asked, ticks, strict=True):
        changed = sum(
            len(set(homes.get(name, ())) ^ set(before.get(name, ()))) for name in before.keys() | homes.keys()
        )
        firsts += len(homes.keys() - seen)
        seen |= homes.keys()
        changes += changed
        quiet += not changed
        slots.serve(counts, homes)
        before = homes
    return Churn(named, changes, firsts, len(before), quiet, slots.hits / slots.asked)


class _Slots:
    """Four adapters a replica, the longest unused leaves; a request takes its adapter's homes in turn."""

    def __init__(self) -> None:
        self.hits = self.asked = 0
        self._held: dict[str, list[str]] = {name: [] for name in ENGINES}
        self._turn = dict.fromkeys(ADAPTERS, 0)

    def serve(self, counts: Counts, homes: Homes) -> None:
        for name, count in counts.items():
            able = homes.get(name) or ranking(name, ENGINES)[:1]
            for _ in range(count):
                held = self._held[able[self._turn[name] % len(able)]]
                self._turn[name] += 1
                self.asked += 1
                if name in held:
                    self.hits += 1
                    held.remove(name)
                elif len(held) >= SLOTS:
                    held.pop(0)
                held.append(name)


def main() -> None:
    """One line for each placement under each seed."""
    for seed in [int(word) for word in sys.argv[1:]] or [42]:
        for one in compare(seed):
            print(seed, one)


if __name__ == "__main__":
    main()
