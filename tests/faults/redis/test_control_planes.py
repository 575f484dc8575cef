"""Two control planes, one of which leads: it is killed, stopped or cut off from Redis; the other goes on."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from gateway.config.snapshot import Snapshot
from gateway.errors import RequestError
from launch.base.lora_shapes import describe_base
from launch.bench.engine.dummy_adapters import AdapterShape, write_dummy_adapter
from launch.cli.live.overview import look
from launch.supervisor.control_client import ControlClient
from launch.supervisor.several.leadership import ABSENT_S, LEASE_S
from tests.fakes.fake_stack import LAYOUT, fake_config
from tests.fakes.plant import free_port
from tests.faults.conftest import Note
from tests.faults.processes import Program, gateway_program, program, soon
from tests.faults.redis.several import PATIENT_MS, needs_redis
from tests.faults.traffic import traffic
from tests.support.real.redis_server import RedisServer, cut
from tests.support.waiting import eventually

pytestmark = [pytest.mark.anyio, needs_redis]

STARTS_WITHIN_S = 90.0
FROZEN_S = 10.0
TAKES_OVER_WITHIN_S = 10.0
ANSWER_MS = 20
BUSY_S = 10.0
"""What a machine with other work may add."""


@dataclass
class Side:
    """One machine, as far as it knows: a control plane, its state directory, and a gateway."""

    control: Program
    gateway: Program
    state: Path

    @property
    def client(self) -> ControlClient:
        return ControlClient(self.state)

    @property
    def snapshot(self) -> Snapshot:
        return look(self.state).snapshot

    async def ask(self, method: str, path: str, fields: dict[str, Any] | None = None) -> dict[str, Any]:
        return await asyncio.to_thread(self.client.ask, method, path, fields)

    async def leads(self) -> bool:
        try:
            await self.ask("GET", "/tasks")
        except RequestError:
            return False
        return True

    async def kept(self) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Each task's versions with their weights, and the keys that commands made."""
        tasks = (await self.ask("GET", "/tasks"))["tasks"]
        versions = {
            name: [(one["id"], one["weight"]) for one in task["versions"]] for name, task in tasks.items()
        }
        return versions, (await self.ask("GET", "/keys"))["keys"]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """The address of an engine that somebody else runs."""
    port = free_port()
    argv = ["tests.fakes.fake_vllm", "--port", str(port), "--takes-ms", str(ANSWER_MS)]
    with program(argv, tmp_path / "engine.log", wait=False):
        yield f"http://127.0.0.1:{port}"


def is_of_naming(answer: str) -> bool:
    return answer.startswith("naming@")


def adapter(folder: Path, name: str, seed: int) -> str:
    base = describe_base(str(folder / "base"), "base", LAYOUT)
    write_dummy_adapter(folder / name, base, AdapterShape(4, ()), seed=seed)
    return str(folder / name)


@asynccontextmanager
async def doubled(
    folder: Path, server: str, redis: str, redis_of_first: str
) -> AsyncIterator[tuple[Side, Side]]:
    """The first leads."""
    document = fake_config(folder).model_dump(mode="json", by_alias=True)
    document["engines"] = [{"url": server}]
    document["adapters"]["roots"] = [str(folder)]
    sides: list[Side] = []
    with ExitStack() as held:
        for name, address in (("a", redis_of_first), ("b", redis)):
            own = folder / name
            own.mkdir()
            document["state_dir"] = str(own / "state")
            common = str(folder / "common")
            document["shared"] = {"redis": address, "timeout_ms": PATIENT_MS, "folder": common}
            (own / "config.yaml").write_text(json.dumps(document), encoding="utf-8")
            argv = ["launch", "--config", str(own / "config.yaml")]
            control = held.enter_context(program(argv, own / "launch.log", wait=False))
            gateway = held.enter_context(gateway_program(own, wait=False))
            # What the first says to Redis may pass through this loop, which must not stand still.
            await soon(gateway.listens)
            side = Side(control, gateway, own / "state")
            if not sides:
                await eventually(side.leads, STARTS_WITHIN_S)
            sides.append(side)
        a, b = sides
        await soon(lambda: "stands by" in b.control.said())
        await eventually(lambda: [one.state for one in b.snapshot.engines] == ["ready"], STARTS_WITHIN_S)
        yield a, b


async def sends_elsewhere(one: Side) -> bool:
    """Whether a change is refused with the place where it is taken; while it starts anew, none is either."""
    with pytest.raises(RequestError) as refused:
        await one.ask("POST", "/keys", {"name": "elsewhere"})
    return re.search("stands by|has taken over", str(refused.value)) is not None


@pytest.mark.parametrize("fault", ["killed", "stopped", "cut off from redis"])
async def test_another_control_plane_leads_and_nothing_is_lost(
    tmp_path: Path, redis: RedisServer, server: str, note: Note, fault: str
) -> None:
    async with AsyncExitStack() as held:
        way = await held.enter_async_context(cut(redis.port))
        a, b = await held.enter_async_context(doubled(tmp_path, server, redis.url, way.url))
        await a.ask("POST", "/adapters", {"task": "later", "source": adapter(tmp_path, "later", 2)})
        split = {"task": "naming", "source": adapter(tmp_path, "newer", 3), "canary": 25}
        await a.ask("POST", "/adapters", split)
        key = str((await a.ask("POST", "/keys", {"name": "client"}))["key"])
        await a.ask("POST", "/keys", {"name": "revoked"})
        await a.ask("DELETE", "/keys/revoked")
        before = await a.kept()
        with pytest.raises(
            RequestError, match=r"stands by; the one that leads is on .*: ask there"
        ) as refused:
            await b.ask("POST", "/keys", {"name": "elsewhere"})
        assert refused.value.code == "control_plane_elsewhere"
        await soon(lambda: len(b.snapshot.tasks["naming"].versions) == 2)
        assert b.snapshot.leader == a.snapshot.leader != ""

        asking = traffic(b.gateway.url, "naming", is_of_naming, clients=1, key=key)
        seen = await held.enter_async_context(asking)
        await soon(lambda: seen.outcomes["right"] > 20)
        faulty = time.monotonic()
        if fault == "killed":
            a.control.kill()
        elif fault == "stopped":
            a.control.signal(signal.SIGSTOP)
        else:
            way.open = False
        await eventually(b.leads, STARTS_WITHIN_S)
        took_s = time.monotonic() - faulty
        assert await b.kept() == before
        await eventually(lambda: [one.state for one in b.snapshot.engines] == ["ready"], STARTS_WITHIN_S)
        promoted = (await b.ask("POST", "/adapters/naming/promote", {}))["versions"]
        again = seen.outcomes["right"] + 20
        await soon(lambda: seen.outcomes["right"] > again)
        if fault != "killed":
            a.control.signal(signal.SIGCONT)
            await soon(lambda: "another control plane has taken over" in a.control.said())
            way.open = True
            await soon(lambda: "stands by" in a.control.said())
            await soon(partial(sends_elsewhere, a))  # it says so in its log before it begins to answer anew
            versions, _ = await b.kept()
            assert versions["naming"] == [(one["id"], one["weight"]) for one in promoted]
    assert took_s < TAKES_OVER_WITHIN_S + BUSY_S
    assert (seen.outcomes["wrong"], seen.refused) == (0, {})
    note(
        "another control plane leads, and nothing is lost",
        load=f"adapters, a split and keys by command; {seen.outcomes['right']} requests at the other gateway",
        fault=f"the one that leads {fault}",
        outcome="all is there, 0 requests failed",
        figure=f"after {took_s:.1f} s; longest gap {seen.longest_gap_s():.2f} s",
    )


async def test_a_redis_that_is_frozen_or_emptied_changes_no_leader(
    tmp_path: Path, redis: RedisServer, server: str, note: Note
) -> None:
    async with doubled(tmp_path, server, redis.url, redis.url) as (a, b):
        redis.signal(signal.SIGSTOP)
        await asyncio.sleep(FROZEN_S)
        await a.ask("POST", "/keys", {"name": "meanwhile"})
        redis.signal(signal.SIGCONT)
        await soon(lambda: "meanwhile" in b.snapshot.issued_keys)
        redis.kill()
        redis.start()
        await a.ask("POST", "/keys", {"name": "later"})
        await soon(lambda: "later" in b.snapshot.issued_keys)
        await asyncio.sleep(LEASE_S + ABSENT_S)
        assert await a.leads()
        assert "this control plane leads" not in b.control.said()
    note(
        "a Redis that is away changes no leader",
        load="2 control planes",
        fault=f"redis frozen {FROZEN_S:.0f} s; killed, started empty",
        outcome="the same leads; its changes are kept, and told once Redis is back",
    )
