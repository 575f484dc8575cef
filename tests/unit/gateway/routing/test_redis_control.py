"""A control plane of another machine, heard through Redis."""

from __future__ import annotations

import asyncio
from typing import cast

import msgspec
import pytest

from gateway.agreement.table_scripts import DEMAND, table_keys
from gateway.config.snapshot import GatewayReport, Snapshot, encode_snapshot
from gateway.errors import EngineError, Unavailable
from gateway.routing.control_socket import ControlPlane
from gateway.routing.redis_control import RedisControl
from tests.fakes.fake_redis import FakeRedis
from tests.support.waiting import eventually, turns

pytestmark = pytest.mark.anyio


def written(server: FakeRedis, version: int, life: int = 1) -> None:
    line = encode_snapshot(Snapshot(version))
    server.write(table_keys(server.link()), str(life), str(version), line)


async def test_the_table_comes_now_and_at_each_change() -> None:
    server = FakeRedis()
    written(server, 7)
    snapshots = RedisControl(server.link()).snapshots("g")
    assert (await anext(snapshots)).version == 7
    later = asyncio.ensure_future(anext(snapshots))
    await eventually(lambda: bool(server.listeners))
    written(server, 8)
    assert (await later).version == 8
    await snapshots.aclose()
    assert not server.listeners


async def test_a_message_that_is_lost_is_made_up_for_by_a_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.routing.redis_control.LOOK_S", 0.001)
    server = FakeRedis()
    server.told = False
    written(server, 7)
    snapshots = RedisControl(server.link()).snapshots("g")
    await anext(snapshots)
    written(server, 8)
    assert (await anext(snapshots)).version == 8
    await snapshots.aclose()


async def test_an_older_table_is_never_taken(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("gateway.routing.redis_control.LOOK_S", 0.001)
    server = FakeRedis()
    written(server, 8)
    control = RedisControl(server.link())
    snapshots = control.snapshots("g")
    await anext(snapshots)
    server.emptied()  # and what comes back is from before
    written(server, 7)
    looked = asyncio.ensure_future(anext(snapshots))
    await turns(200)
    assert not looked.done()
    (said,) = caplog.messages
    assert "start this gateway again" in said, "once for each such table"
    written(server, 9)
    assert (await looked).version == 9
    await snapshots.aclose()


async def test_without_a_control_plane_or_redis_the_follower_hears_so() -> None:
    server = FakeRedis()
    with pytest.raises(EngineError, match="No control plane"):
        await anext(RedisControl(server.link()).snapshots("g"))
    written(server, 1)
    server.away = True
    with pytest.raises(EngineError, match="away"):
        await anext(RedisControl(server.link()).snapshots("g"))


async def test_reports_and_wishes_go_there_and_nothing_else() -> None:
    server = FakeRedis()
    control = RedisControl(server.link())
    report = msgspec.json.encode(GatewayReport("g", 3))
    assert await control.request("POST", "/gateways", report) == (204, b"")
    assert server.reports == {"g": report}
    assert (await control.request("POST", "/engines/start", b"{}"))[0] == 202
    assert server.values[server.link().key(*DEMAND)] == b"1"
    with pytest.raises(Unavailable) as elsewhere:
        await control.request("DELETE", "/keys/ci")
    assert elsewhere.value.code == "control_plane_elsewhere"
    server.away = True
    with pytest.raises(Unavailable) as gone:
        await control.request("POST", "/gateways", report)
    assert gone.value.code == "control_plane_gone"


async def test_commands_go_to_the_control_plane_beside_it_where_there_is_one() -> None:
    asked: list[tuple[str, str, bytes]] = []

    class Beside:
        async def request(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
            asked.append((method, path, body))
            return 200, b"{}"

        def close(self) -> None:
            asked.append(("", "closed", b""))

    server = FakeRedis()
    control = RedisControl(server.link(), cast(ControlPlane, Beside()))
    report = msgspec.json.encode(GatewayReport("g", 7))
    assert (await control.request("POST", "/gateways", report))[0] == 204
    assert server.reports == {"g": report}, "who leads may be on another machine, and hears all this way"
    assert await control.request("POST", "/keys", b"{}") == (200, b"{}")
    control.close()
    assert asked == [("POST", "/keys", b"{}"), ("", "closed", b"")]
