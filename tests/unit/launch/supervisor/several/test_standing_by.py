"""A control plane that does not lead says who does, and keeps the leader's table for this machine."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest

from gateway.agreement.table_scripts import TABLE, VERSION, table_keys
from gateway.config.snapshot import FILE, Snapshot, encode_snapshot, read_snapshot
from launch.supervisor.several.leadership import Leader
from launch.supervisor.several.standing_by import mirror, standing_by_app
from tests.fakes.fake_redis import FakeRedis
from tests.fakes.virtual_time import passed, virtual


@pytest.mark.anyio
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
async def test_a_command_is_told_where_the_leader_is(method: str) -> None:
    known: list[Leader | None] = [None]
    transport = httpx.ASGITransport(standing_by_app(lambda: known[-1]))
    async with httpx.AsyncClient(transport=transport, base_url="http://control") as client:
        before = await client.request(method, "/adapters")
        known.append(Leader("a", "host-a (http://10.0.0.1:8080)"))
        after = await client.request(method, "/adapters/naming/promote")
    for answer in (before, after):
        assert answer.status_code == 503
        assert answer.json()["error"]["code"] == "control_plane_elsewhere"
    assert "host-a (http://10.0.0.1:8080): ask there" in after.json()["error"]["message"]


@virtual
async def test_the_leaders_table_is_kept_as_it_changes(tmp_path: Path) -> None:
    server = FakeRedis()
    keeping = asyncio.create_task(mirror(server.link(), tmp_path / FILE))
    await passed(5)
    assert read_snapshot(tmp_path / FILE) is None
    for version in (1, 2):
        written = Snapshot(version, leader="host-a")
        server.write(table_keys(server.link()), "1", str(version), encode_snapshot(written))
        await passed(5)
        assert read_snapshot(tmp_path / FILE) == written
    link = server.link()
    server.values[link.key(*VERSION)] = b"3"  # written anew between two looks at an emptied Redis
    del server.values[link.key(*TABLE)]
    await passed(5)
    assert read_snapshot(tmp_path / FILE) == written
    server.away = True
    await passed(5)
    keeping.cancel()
