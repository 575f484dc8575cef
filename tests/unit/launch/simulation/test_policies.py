"""Which replica others would take."""

from __future__ import annotations

import random

import pytest

from gateway.errors import ConfigError
from gateway.placement.rendezvous import ranking
from launch.simulation.engine import SimulatedEngine
from launch.simulation.policies import NAMES, OURS, Policy, policy_of
from launch.simulation.request import Request
from tests.unit.launch.simulation.test_engine_speed import speed


def engines() -> list[SimulatedEngine]:
    """Three, of which the first has two requests for `a`, and the second one for `b`."""
    found = [SimulatedEngine(f"engine-{number}", speed()) for number in range(3)]
    for engine, adapter in ((0, "a"), (0, "a"), (1, "b")):
        found[engine].arrives(Request(0.0, adapter, 1, 9), 0.0)
    found[0].load("a")
    found[1].load("b")
    return found


def policy(named: str) -> Policy:
    return policy_of(named, engines(), ["a", "b", "c"], random.Random(1))


def taken(named: str, *adapters: str) -> list[int]:
    one = policy(named)
    return [one.replica(Request(1.0, adapter, 1, 1)) for adapter in adapters]


def test_each_policy_takes_its_own() -> None:
    assert taken("round-robin", *"aaaa") == [0, 1, 2, 0]
    assert taken("least-loaded", *"ab") == [2, 2]
    assert taken("affinity", *"bc") == [1, 2]
    assert taken("affinity", "a") == [2], "the one that has it has no seat"
    names = [f"engine-{number}" for number in range(3)]
    assert taken("rendezvous", *"abc") == [names.index(ranking(name, names)[0]) for name in "abc"]


def test_all_others_are_there_and_no_more() -> None:
    assert all(policy(name) for name in NAMES if name != OURS)
    with pytest.raises(ConfigError, match="round-robin"):
        policy("best")
