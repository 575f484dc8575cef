"""Tokens a second of each adapter, from what gateways count since their start."""

from __future__ import annotations

import pytest

from gateway.placement.fading import FORGOTTEN_S
from launch.supervisor.placement.demand import Demand


def long_begun() -> Demand:
    demand = Demand()
    demand.told("another", {}, -1e6)
    return demand


def test_what_is_asked_for_steadily_is_its_rate() -> None:
    demand = Demand()
    for second in range(600):
        demand.told("g1", {"a@1": 50 * second}, float(second))
        demand.told("g2", {"a@1": 10 * second, "b@1": second}, float(second))
    rates = demand.tokens_per_s(600.0)
    assert rates["a@1"] == pytest.approx(60.0, rel=0.05)
    assert rates["b@1"] == pytest.approx(1.0, rel=0.05)


def test_in_its_first_minute_too() -> None:
    demand = Demand()
    for second in range(21):
        demand.told("g1", {"a@1": 60 * second}, 1000.0 + second)
    assert demand.tokens_per_s(1020.0)["a@1"] == pytest.approx(60.0, rel=0.05)


def test_what_is_asked_for_no_more_fades_and_is_forgotten() -> None:
    demand = long_begun()
    demand.told("g1", {}, 0.0)
    demand.told("g1", {"a@1": 6000}, 0.0)
    assert demand.tokens_per_s(0.0) == {"a@1": 100.0}
    assert demand.tokens_per_s(FORGOTTEN_S)["a@1"] == pytest.approx(36.8, abs=0.1)
    assert demand.tokens_per_s(20 * FORGOTTEN_S) == {}


def test_a_gateway_that_goes_leaves_nothing_behind_and_one_that_begins_anew_counts_anew() -> None:
    demand = long_begun()
    demand.told("g1", {}, 0.0)
    demand.told("g1", {"a@1": 6000}, 0.0)
    demand.left("g1")
    assert "g1" not in demand._counted
    demand.told("g1", {}, 0.0)
    demand.told("g1", {"a@1": 60}, 0.0)  # another process of that name
    assert demand.tokens_per_s(0.0) == {"a@1": 101.0}


def test_a_count_that_falls_is_no_demand() -> None:
    demand = long_begun()
    demand.told("g1", {}, 0.0)
    demand.told("g1", {"a@1": 600}, 0.0)
    demand.told("g1", {"a@1": 60}, 0.0)
    assert demand.tokens_per_s(0.0) == {"a@1": 10.0}


def test_what_was_counted_before_a_gateway_was_heard_is_no_demand_of_now() -> None:
    """A control plane that starts anew beside gateways that have run for days."""
    demand = long_begun()
    demand.told("g1", {"a@1": 1_000_000_000}, 0.0)
    demand.told("g1", {"a@1": 1_000_000_060, "b@1": 60}, 0.0)
    assert demand.tokens_per_s(0.0) == {"a@1": 1.0, "b@1": 1.0}
    demand.left("g1")  # its connection broke off
    demand.told("g1", {"a@1": 1_000_000_060, "b@1": 60}, 0.0)
    assert demand.tokens_per_s(0.0) == {"a@1": 1.0, "b@1": 1.0}
