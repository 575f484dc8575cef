"""The snapshot on its way to Redis, and gateways' reports on their way back."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from gateway.agreement.link import Away
from gateway.agreement.table_scripts import DEMAND, TABLE, VERSION
from gateway.config.snapshot import GatewayReport, Snapshot, decode_snapshot
from launch.supervisor.gateway_reports import Gateways
from launch.supervisor.publisher import Publisher
from launch.supervisor.several.shared_table import SETTLES_WITHIN_S, SharedTable
from tests.fakes.fake_redis import FakeRedis
from tests.support.waiting import eventually, turns

pytestmark = pytest.mark.anyio


class Controlled:
    """A control plane of one life, as far as Redis sees it."""

    def __init__(self, server: FakeRedis, folder: Path, life: int = 1) -> None:
        self.base = "first"
        self.now = 0.0
        self.wanted = self.outlived = 0
        self.gateways = Gateways(lambda: self.now)
        self.publisher = Publisher(folder, life, lambda version: Snapshot(version, base=self.base))
        self.publisher.publish()
        self.table = SharedTable(
            server.link(), self.publisher, self.gateways, self._want, self._outlive, lambda: self.now
        )

    def _want(self) -> None:
        self.wanted += 1

    def _outlive(self) -> None:
        self.outlived += 1


def held(server: FakeRedis) -> Snapshot:
    return decode_snapshot(server.values[server.link().key(*TABLE)])


async def test_the_table_is_written_whole_and_said_again_after_a_loss(tmp_path: Path) -> None:
    server = FakeRedis()
    c = Controlled(server, tmp_path)
    await c.table.write_once()
    assert held(server) == c.publisher.snapshot
    server.emptied()
    await c.table.write_once()
    assert held(server) == c.publisher.snapshot


async def test_a_change_is_written_at_once(tmp_path: Path) -> None:
    server = FakeRedis()
    c = Controlled(server, tmp_path)
    writing = asyncio.create_task(c.table.write())
    key = server.link().key(*VERSION)
    await eventually(lambda: key in server.values)
    c.base = "second"
    c.publisher.publish()
    await eventually(lambda: server.values[key] == str(c.publisher.snapshot.version).encode())
    assert held(server).base == "second"
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)
    assert not c.publisher._listeners


async def test_the_last_table_goes_on_until_it_is_known_how_the_engines_stand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("launch.supervisor.several.shared_table.COLLECT_EVERY_S", 0.001)
    server, known = FakeRedis(), [False]
    c = Controlled(server, tmp_path)
    c.table._settled = lambda: known[0]
    writing = asyncio.create_task(c.table.write())
    await turns(200)
    assert not server.values
    known[0] = True
    await eventually(lambda: bool(server.values))
    assert held(server) == c.publisher.snapshot
    writing.cancel()
    late = Controlled(server, tmp_path, 2)
    late.table._settled = lambda: False
    writing = asyncio.create_task(late.table.write())
    await turns(200)
    late.now = SETTLES_WITHIN_S
    await eventually(lambda: held(server) == late.publisher.snapshot)
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)


async def test_an_earlier_life_writes_no_more(tmp_path: Path) -> None:
    server = FakeRedis()
    first, second = Controlled(server, tmp_path, 1), Controlled(server, tmp_path, 2)
    await first.table.write_once()
    await second.table.write_once()
    first.base = "late"
    first.publisher.publish()
    await first.table.write_once()
    assert (first.outlived, second.outlived) == (1, 0)
    assert held(server) == second.publisher.snapshot


async def test_gateways_are_known_by_their_reports(tmp_path: Path) -> None:
    server = FakeRedis()
    c = Controlled(server, tmp_path)
    server.reports["g"] = msgspec.json.encode(GatewayReport("g", 1, busy=["naming@1"]))
    server.values[server.link().key(*DEMAND)] = b"1"
    await c.table.collect_once()
    assert not c.gateways.released("naming@1", 1)
    assert c.wanted == 1
    server.reports["g"] = msgspec.json.encode(GatewayReport("g", 1))
    c.now = 5.0
    await c.table.collect_once()
    assert c.gateways.released("naming@1", 1)
    assert not c.gateways.released("naming@1", 2), "it routes by an older table"
    assert c.wanted == 1


async def test_nothing_is_at_rest_before_every_gateway_could_report(tmp_path: Path) -> None:
    """A control plane that was started while Redis was away knows of nobody."""
    server = FakeRedis()
    server.away = True
    c = Controlled(server, tmp_path)
    for c.now in (0.0, 60.0):
        with pytest.raises(Away):
            await c.table.collect_once()
    assert not c.gateways.released("naming@1", 1)
    assert c.gateways.idle_s(0.0) == 0.0
    assert await c.gateways.told(1, 0.0), "a command is answered all the same"
    free = asyncio.create_task(c.gateways.until_released("naming@1", 1, 60))
    server.away = False
    for c.now in (61.0, 65.9):
        await c.table.collect_once()
        assert not free.done()
    c.now = 66.0
    await c.table.collect_once()
    assert await free


async def test_one_that_is_silent_is_forgotten_after_its_time_and_not_before(tmp_path: Path) -> None:
    server = FakeRedis()
    c = Controlled(server, tmp_path)
    server.reports["g"] = msgspec.json.encode(GatewayReport("g", 1, busy=["naming@1"]))
    await c.table.collect_once()
    server.emptied()
    c.now = 4.0
    await c.table.collect_once()
    assert not c.gateways.released("naming@1", 1)
    server.away = True
    c.now = 60.0
    with pytest.raises(Away):
        await c.table.collect_once()
    assert not c.gateways.released("naming@1", 1), "while Redis is away nobody is said to have left"
    server.away = False
    await c.table.collect_once()
    assert not c.gateways.released("naming@1", 1), "it has had no time to report to a Redis that is empty"
    c.now = 66.0
    await c.table.collect_once()
    assert c.gateways.released("naming@1", 1)


async def test_what_cannot_be_read_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    server = FakeRedis()
    c = Controlled(server, tmp_path)
    server.reports = {"x": b"{", "g": msgspec.json.encode(GatewayReport("g", 1))}
    await c.table.collect_once()
    assert "cannot be read" in caplog.text
    assert not c.gateways.released("any", 2)
