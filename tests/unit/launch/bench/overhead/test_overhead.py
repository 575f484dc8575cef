"""The order in which proxies are measured, and the plans."""

from __future__ import annotations

import pytest

from launch.bench.overhead.overhead import OverheadPlan, StreamCell, order


def test_every_round_visits_every_proxy_once_in_an_order_of_its_own() -> None:
    names = ["direct", "nginx", "gateway", "litellm", "portkey"]
    orders = [order(names, number, seed=1) for number in range(6)]
    assert all(sorted(one) == sorted(names) for one in orders)
    assert len({tuple(one) for one in orders}) > 1
    assert orders == [order(names, number, seed=1) for number in range(6)]
    assert orders != [order(names, number, seed=2) for number in range(6)]


def test_a_quick_plan_does_everything_once() -> None:
    plan = OverheadPlan.quick()
    assert plan.rounds == 1
    assert {cell.name for cell in plan.streams} == {"stream-32", "stream-128", "flood-128"}
    assert StreamCell(32, 20.0).spread_s == pytest.approx(1.33)
