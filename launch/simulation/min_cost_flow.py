"""Who is where at the least cost: min-cost flow from adapters to engines by successive shortest paths. Pure.

Another placement's way, built to stand beside `gateway.placement.plan`: every unit that flows is a replica.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Set
from dataclasses import dataclass

Costs = Mapping[str, Mapping[str, int]]
"""Of an adapter on an engine."""


@dataclass(frozen=True, slots=True)
class FlowProblem:
    """What is to be shared out; whole numbers, so that costs are compared exactly."""

    replicas: Mapping[str, int]
    """By adapter, each on an engine of its own."""
    slots: Mapping[str, int]
    """By engine."""
    costs: Costs
    crowding: int = 0
    """The n-th adapter on an engine costs n - 1 times as much, so that engines fill alike."""


def least_cost(problem: FlowProblem) -> dict[str, set[str]]:
    """Engines of each adapter: as many replicas as slots allow, and of all such ways one that costs least.

    Between equals that adapter goes first which stands first in `replicas`.
    """
    flow = _Flow(problem)
    while path := flow.shortest():
        flow.send(path)
    return flow.homes


@dataclass(frozen=True, slots=True)
class _Step:
    """An adapter comes to an engine: its first there, or from an engine where it leaves room."""

    adapter: str
    start: str | None
    end: str


class _Flow:
    """Every path leads from an adapter that lacks a replica to an engine with a free slot.

    Between them it goes from engine to engine by an adapter that yields: so engines are all the nodes there
    are. Costs may be below 0, but no circle's is: shortest paths leave none (Ford and Fulkerson).
    """

    def __init__(self, problem: FlowProblem) -> None:
        self._problem = problem
        self._lacking = {adapter: count for adapter, count in problem.replicas.items() if count > 0}
        self.homes: dict[str, set[str]] = {adapter: set() for adapter in problem.replicas}
        self._on: dict[str, dict[str, None]] = {engine: {} for engine in problem.slots}

    def shortest(self) -> list[_Step]:
        """The cheapest way for one replica more; empty where there is none."""
        ways = self._entries()
        changed: Set[str] = ways.keys()
        while changed:  # Bellman and Ford
            # Sorted: a set of names has another order in each process, and equal ways would fall otherwise.
            changed = {end for start in sorted(changed) for end in self._relaxed(start, ways)}
        free = [name for name in ways if len(self._on[name]) < self._problem.slots[name]]
        if not free:
            return []
        last = min(free, key=lambda name: ways[name][0] + self._problem.crowding * len(self._on[name]))
        path = [ways[last][1]]
        while (start := path[-1].start) is not None:
            path.append(ways[start][1])
        return path

    def send(self, path: list[_Step]) -> None:
        """One replica more, the others on the path a step on."""
        for step in path:
            if step.start is not None:
                self.homes[step.adapter].remove(step.start)
                del self._on[step.start][step.adapter]
            self.homes[step.adapter].add(step.end)
            self._on[step.end][step.adapter] = None
        adapter = path[-1].adapter
        self._lacking[adapter] -= 1
        if not self._lacking[adapter]:
            del self._lacking[adapter]

    def _entries(self) -> dict[str, tuple[int, _Step]]:
        """Engine → the cheapest adapter that lacks a replica and is not there, and its cost."""
        ways: dict[str, tuple[int, _Step]] = {}
        for engine, held in self._on.items():
            able = [each for each in self._lacking if each not in held]
            if able and self._problem.slots[engine] > 0:
                first = min(able, key=lambda each: self._problem.costs[each][engine])
                ways[engine] = (self._problem.costs[first][engine], _Step(first, None, engine))
        return ways

    def _relaxed(self, start: str, ways: dict[str, tuple[int, _Step]]) -> set[str]:
        """Engines to which there is a cheaper way by what `start` holds; it is noted."""
        so_far = ways[start][0]
        found = set()
        for adapter in self._on[start]:
            costs = self._problem.costs[adapter]
            for end, cost in costs.items():
                if end in self.homes[adapter] or self._problem.slots[end] <= 0:
                    continue
                whole = so_far - costs[start] + cost
                if whole < (ways[end][0] if end in ways else math.inf):
                    ways[end] = (whole, _Step(adapter, start, end))
                    found.add(end)
        return found
