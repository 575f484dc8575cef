"""The control socket: its owner's alone, and the whole state at each change."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gateway.config.snapshot import GatewayReport, decode_snapshot
from tests.fakes.plant import timed_plant

pytestmark = pytest.mark.anyio


async def test_state_file_and_socket_are_the_owners_alone(tmp_path: Path) -> None:
    async with timed_plant(tmp_path):
        for name in ("engine.json", "control.sock"):
            assert (tmp_path / "state" / name).stat().st_mode & 0o077 == 0


async def test_events_give_the_whole_state_at_once_and_at_each_change(tmp_path: Path) -> None:
    async with timed_plant(tmp_path) as made:
        await made.until_state("ready")
        async with made.client.stream("GET", "/events") as events:
            lines = events.aiter_lines()
            first = decode_snapshot(await anext(lines))
            adding = asyncio.create_task(made.add("naming", "two"))
            snapshot = first
            while len(snapshot.tasks["naming"].versions) < 2:
                line = await anext(lines)
                if line:
                    newer = decode_snapshot(line)
                    assert newer.version > snapshot.version
                    snapshot = newer
            await adding


async def test_a_change_is_answered_once_every_gateway_routes_by_it(tmp_path: Path) -> None:
    async with timed_plant(tmp_path) as made:
        await made.until_state("ready")
        gateways = made.supervisor.gateways
        await gateways.joined("g1")
        creating = asyncio.create_task(made.client.post("/keys", json={"name": "client"}))
        await made.until(lambda: any(key["name"] == "client" for key in made.supervisor.issued_keys.list()))
        await gateways.report(GatewayReport("g1", made.snapshot.version - 1))
        await made.client.get("/keys")
        assert not creating.done()
        await gateways.report(GatewayReport("g1", made.snapshot.version))
        assert (await creating).json()["name"] == "client"


async def test_a_change_is_answered_though_a_gateway_does_not_take_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("launch.supervisor.control_api.TOLD_WITHIN_S", 0.01)
    async with timed_plant(tmp_path) as made:
        await made.until_state("ready")
        await made.supervisor.gateways.joined("g1")
        assert (await made.client.post("/keys", json={"name": "client"})).status_code == 200
        assert "a gateway has not taken over version" in caplog.text
