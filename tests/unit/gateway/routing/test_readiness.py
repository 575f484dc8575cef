"""`/ready` holds for the engines that were asked, and asks them once for whoever waits."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.fakes.fake_control import engine_of
from tests.fakes.fake_engine import Answer
from tests.support.controlled import controlled, held
from tests.support.stack import TASKS, eventually

pytestmark = pytest.mark.anyio


async def test_a_proof_is_of_those_engines_alone(tmp_path: Path) -> None:
    async with controlled(tmp_path) as c:
        readiness = c.stack.gateway.readiness
        assert await readiness.proven()
        c.engine.answers["base"] = Answer(status=500)
        assert await readiness.proven()  # it has just worked
        await c.tell([engine_of(c.engine.url, "ready", *TASKS.values(), pid=2)])
        assert not await readiness.proven()
        await c.state("failed")
        assert not await readiness.proven()


async def test_many_who_ask_share_one_probe(tmp_path: Path) -> None:
    async with controlled(tmp_path) as c:
        hold, c.engine.answers["base"] = held()
        asking = [asyncio.create_task(c.get("/ready")) for _ in range(5)]
        await eventually(lambda: c.engine.active == 1)
        hold.set()
        assert {(await each).status_code for each in asking} == {200}
        assert len(c.engine.completions) == 1


async def test_a_probe_under_way_ends_with_the_gateway(tmp_path: Path) -> None:
    async with controlled(tmp_path) as c:
        _, c.engine.answers["base"] = held()
        asking = asyncio.create_task(c.stack.gateway.readiness.proven())
        await eventually(lambda: c.engine.active == 1)
        await c.stack.gateway.readiness.stop()
        with pytest.raises(asyncio.CancelledError):
            await asking
