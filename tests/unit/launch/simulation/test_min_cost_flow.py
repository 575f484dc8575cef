"""Min-cost flow, held against every assignment that there is."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import combinations

import pytest

from launch.simulation.min_cost_flow import FlowProblem, least_cost


def ways(wanted: FlowProblem) -> Iterator[dict[str, set[str]]]:
    """Every assignment within the slots."""
    adapters = list(wanted.replicas)

    def rest(place: int, free: dict[str, int]) -> Iterator[dict[str, set[str]]]:
        if place == len(adapters):
            yield {}
            return
        able = [engine for engine, count in free.items() if count > 0]
        for count in range(min(wanted.replicas[adapters[place]], len(able)) + 1):
            for homes in combinations(able, count):
                left = {engine: slots - (engine in homes) for engine, slots in free.items()}
                for others in rest(place + 1, left):
                    yield {adapters[place]: set(homes), **others}

    return rest(0, dict(wanted.slots))


def judged(wanted: FlowProblem, homes: dict[str, set[str]]) -> tuple[int, int]:
    """The more replicas the better, then the less they cost."""
    cost = sum(wanted.costs[adapter][engine] for adapter, found in homes.items() for engine in found)
    for engine in wanted.slots:
        count = sum(engine in found for found in homes.values())
        cost += wanted.crowding * count * (count - 1) // 2
    return -sum(map(len, homes.values())), cost


@pytest.mark.parametrize("seed", range(60))
def test_no_assignment_costs_less(seed: int) -> None:
    chance = random.Random(seed)
    adapters, engines = "abcd"[: chance.randint(1, 4)], "xyz"[: chance.randint(1, 3)]
    wanted = FlowProblem(
        {adapter: chance.randint(0, 3) for adapter in adapters},
        {engine: chance.randint(0, 3) for engine in engines},
        {adapter: {engine: chance.randint(-9, 9) for engine in engines} for adapter in adapters},
        chance.choice([0, 1, 5]),
    )
    found = least_cost(wanted)
    assert found.keys() == wanted.replicas.keys()
    assert judged(wanted, found) == min(judged(wanted, way) for way in ways(wanted))
    assert all(sum(engine in homes for homes in found.values()) <= wanted.slots[engine] for engine in engines)


def test_one_yields_where_another_can_be_nowhere_else() -> None:
    costs = {"a": {"x": 0, "y": 3}, "b": {"x": 1, "y": 90}}
    assert least_cost(FlowProblem({"a": 1, "b": 1}, {"x": 1, "y": 1}, costs)) == {"a": {"y"}, "b": {"x"}}


def test_engines_fill_alike_and_a_replica_beyond_all_slots_has_no_home() -> None:
    costs = {adapter: {"x": 0, "y": 1} for adapter in "abc"}
    crowded = least_cost(FlowProblem(dict.fromkeys("ab", 1), {"x": 2, "y": 2}, costs))
    assert crowded == {"a": {"x"}, "b": {"x"}}
    alike = least_cost(FlowProblem(dict.fromkeys("ab", 1), {"x": 2, "y": 2}, costs, crowding=2))
    assert sorted(alike["a"] | alike["b"]) == ["x", "y"]
    full = least_cost(FlowProblem({"a": 2, "b": 1, "c": 1}, {"x": 1, "y": 1}, costs))
    assert sum(map(len, full.values())) == 2
