"""A gateway on another machine than the control plane: revoked keys, and what it does without Redis."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from gateway.agreement.link import RedisLink
from gateway.agreement.policies import LOOK_S
from gateway.config.snapshot import Snapshot
from launch.supervisor.gateway_reports import Gateways
from launch.supervisor.publisher import Publisher
from launch.supervisor.several.shared_table import SharedTable
from tests.faults.conftest import Note
from tests.faults.processes import Served, asking, configured, fault_engine, gateway_program, soon
from tests.faults.redis.several import PATIENT_MS, needs_redis
from tests.support.real.redis_server import RedisServer
from tests.support.stack import key_of, snapshot_of

pytestmark = [pytest.mark.anyio, needs_redis]

KEY = "a key of two words and of no value"


class Published:
    """What a control plane somewhere else says."""

    def __init__(self, snapshot: Snapshot, folder: Path, link: RedisLink) -> None:
        self.snapshot = snapshot
        self.gateways = Gateways()
        self.publisher = Publisher(folder, 1, self._composed)
        self.table = SharedTable(link, self.publisher, self.gateways, lambda: None, lambda: None)
        self.publisher.publish()

    def _composed(self, version: int) -> Snapshot:
        return msgspec.structs.replace(self.snapshot, version=version)

    def revoke(self, revoked: bool = True) -> None:
        key = {**self.snapshot.keys["ci"], "disabled": revoked}
        self.snapshot = msgspec.structs.replace(self.snapshot, keys={"ci": key})
        self.publisher.publish()


@asynccontextmanager
async def elsewhere(folder: Path, redis: RedisServer) -> AsyncIterator[tuple[Served, Published]]:
    """A gateway that follows through Redis alone, and what it follows."""
    keys = {"ci": key_of(KEY)}
    shared = {"redis": redis.url, "timeout_ms": PATIENT_MS, "follow": True}
    own = folder / "gateway"
    own.mkdir()
    with fault_engine(folder) as engine:
        config = configured(own, engine.url, keys=keys, shared=shared)
        (config.state_dir / "engine.json").unlink()
        made = snapshot_of(config, url=engine.url, state="ready", started_at=1.0, managed=False)
        assert config.shared is not None
        link = RedisLink(config.shared)
        said = Published(made, folder, link)
        tasks = [asyncio.create_task(said.table.write()), asyncio.create_task(said.table.collect())]
        try:
            with gateway_program(own) as gateway:
                async with asking(gateway, engine, own) as s:
                    s.client.headers["authorization"] = f"Bearer {KEY}"
                    await until_status(s, 200)
                    yield s, said
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await link.close()


async def until_status(s: Served, status: int) -> float:
    """How long it took, in seconds."""
    began = time.monotonic()

    async def so() -> bool:
        return (await s.chat("echo 1")).status_code == status

    await soon(so)
    return time.monotonic() - began


async def test_a_key_is_revoked_at_a_gateway_elsewhere(
    tmp_path: Path, redis: RedisServer, note: Note, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with elsewhere(tmp_path, redis) as (s, said):
        version = said.publisher.snapshot.version
        await soon(lambda: said.gateways.released("none", version))  # it has reported
        said.revoke()
        told_s = await until_status(s, 401)
        said.revoke(False)
        await until_status(s, 200)
        monkeypatch.setattr("launch.supervisor.several.shared_table.NEWS", "nobody listens")
        said.revoke()
        looked_s = await until_status(s, 401)
        assert looked_s < LOOK_S + 3
        redis.kill()
        redis.start()
        said.revoke(False)
        await until_status(s, 200)
    note(
        "a revoked key is refused at every gateway",
        load="one client",
        fault="none; the message lost; redis killed, started empty",
        outcome="refused; refused; the table is there again",
        figure=f"after {told_s * 1000:.0f} ms; {looked_s * 1000:.0f} ms",
    )


async def test_without_redis_the_last_table_goes_on(tmp_path: Path, redis: RedisServer, note: Note) -> None:
    async with elsewhere(tmp_path, redis) as (s, _):
        redis.kill()
        await soon(lambda: "the last table goes on" in s.gateway.said())
        for _ in range(10):
            assert (await s.chat("echo 1")).status_code == 200
        answer = await s.client.get("/ready")
        assert answer.status_code == 200
    note(
        "a gateway elsewhere serves by its last table",
        load="one client",
        fault="redis killed",
        outcome="answered, ready",
    )
