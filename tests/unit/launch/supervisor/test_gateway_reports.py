"""What gateways report: who still needs an adapter, and since when nobody asks."""

from __future__ import annotations

import asyncio

import pytest

from gateway.config.snapshot import GatewayReport
from launch.supervisor.gateway_reports import Gateways
from launch.supervisor.replicas.autoscale import QueueLoad

pytestmark = pytest.mark.anyio


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


async def test_id_is_released_when_every_gateway_says_so() -> None:
    gateways = Gateways()
    assert gateways.released("a@1", 3)
    await gateways.joined("g1")
    await gateways.joined("g2")
    await gateways.report(GatewayReport("g1", 3))
    await gateways.report(GatewayReport("g2", 2))
    assert not gateways.released("a@1", 3)
    await gateways.report(GatewayReport("g2", 3, busy=["a@1"]))
    assert not gateways.released("a@1", 3)
    waiting = asyncio.create_task(gateways.until_released("a@1", 3, 5))
    await asyncio.sleep(0)
    await gateways.left("g2")
    assert await waiting


async def test_idle_counts_from_the_last_request_anywhere() -> None:
    clock = Clock()
    gateways = Gateways(clock)
    await gateways.joined("g1")
    await gateways.report(GatewayReport("g1", 1, last_request_s=4.0))
    clock.now = 110.0
    assert gateways.idle_s(since=50.0) == 14.0
    assert gateways.idle_s(since=108.0) == 2.0
    await gateways.report(GatewayReport("g1", 1, in_flight=1, last_request_s=4.0))
    assert gateways.idle_s(since=50.0) == 0.0
    await gateways.report(GatewayReport("g1", 1, waiting=1))
    assert gateways.idle_s(since=50.0) == 0.0


async def test_quiet_waits_for_requests_in_flight_and_gives_up() -> None:
    gateways = Gateways()
    await gateways.joined("g1")
    await gateways.report(GatewayReport("g1", 7, in_flight=1))
    assert not await gateways.quiet(7, 0.01)
    waiting = asyncio.create_task(gateways.quiet(7, 5))
    await asyncio.sleep(0)
    await gateways.report(GatewayReport("g1", 7))
    assert await waiting


async def test_an_engine_is_left_alone_once_nobody_has_requests_there() -> None:
    gateways = Gateways()
    await gateways.joined("g1")
    await gateways.report(GatewayReport("g1", 7, in_flight=9, draining={"engine-1": 2}))
    assert await gateways.left_alone("engine-0", 7, 0.01)
    assert not await gateways.left_alone("engine-0", 8, 0.01)
    waiting = asyncio.create_task(gateways.left_alone("engine-1", 7, 5))
    await asyncio.sleep(0)
    await gateways.report(GatewayReport("g1", 7, in_flight=9))
    assert await waiting


async def test_load_is_all_requests_and_the_longest_queue() -> None:
    gateways = Gateways()
    assert gateways.load(2) == QueueLoad(0, 0.0, 0, 2)
    for name, queue_s in (("g1", 3.0), ("g2", 1.0)):
        await gateways.joined(name)
        await gateways.report(GatewayReport(name, 7, in_flight=4, waiting=1, queue_s=queue_s))
    assert gateways.load(0) == QueueLoad(8, 3.0, 2, 0)


async def test_all_are_told_once_each_routes_by_the_version() -> None:
    gateways = Gateways()
    assert await gateways.told(7, 0.01), "nobody listens"
    await gateways.joined("g1")
    await gateways.joined("g2")
    await gateways.report(GatewayReport("g1", 8))
    assert not await gateways.told(7, 0.01)
    waiting = asyncio.create_task(gateways.told(7, 5))
    await asyncio.sleep(0)
    await gateways.report(GatewayReport("g2", 7, in_flight=3))
    assert await waiting
