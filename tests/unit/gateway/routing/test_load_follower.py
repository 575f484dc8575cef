"""The bound on what is in flight follows what the engines say."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gateway.admission.engine_bound import FEW
from gateway.routing.load_follower import LoadFollower
from tests.fakes.fake_engine import Answer
from tests.support.controlled import two
from tests.support.stack import stack
from tests.support.waiting import eventually

pytestmark = pytest.mark.anyio


def says(running: int, waiting: int) -> bytes:
    return b"vllm:num_requests_running{} %d\nvllm:num_requests_waiting{} %d\n" % (running, waiting)


async def look(follower: LoadFollower) -> None:
    """Once at each engine, until all have answered."""
    async with asyncio.TaskGroup() as asking:
        follower.look(asking)


async def test_it_falls_to_what_runs_and_goes_with_an_engine_that_tells_no_more(tmp_path: Path) -> None:
    async with stack(tmp_path, max_in_flight=64, follow_engines=False) as s:
        admission, follower = s.gateway.admission, LoadFollower(s.gateway.replicas, s.gateway.admission)
        await look(follower)
        assert admission.max_in_flight == 64  # it does not tell
        s.engine.load = says(8, 50)
        await look(follower)
        await look(follower)
        assert admission.max_in_flight == 9
        s.engine.load = b""
        await look(follower)
        assert admission.max_in_flight == 64
        s.engine.load = says(4, 50)
        await look(follower)
        await s.engine.stop()
        await look(follower)
        assert admission.max_in_flight == 9  # too busy to answer is no less full


async def test_an_engine_that_is_slow_to_tell_holds_up_no_other(tmp_path: Path) -> None:
    async with two(tmp_path, max_in_flight=64, follow_engines=False) as t:
        admission = t.c.stack.gateway.admission
        follower = LoadFollower(t.c.replicas, admission)
        slow = asyncio.Event()
        t.c.engine.load, t.other.load, t.other.hold_load = says(8, 50), says(4, 50), slow
        async with asyncio.TaskGroup() as asking:
            for _ in range(2):
                follower.look(asking)
                await eventually(lambda: follower._asked == {t.c.replica("engine-1")})
            assert t.c.replica("engine-0").bound.limit == 9
            assert admission.max_in_flight == 64, "the other has not been heard yet"
            slow.set()
        assert [one.path for one in t.other.received].count("/metrics") == 1, "one look at a time"
        await look(follower)
        assert admission.max_in_flight == 14
        t.other.hold_load = slow = asyncio.Event()
        t.c.engine.load = says(12, 0)
        async with asyncio.TaskGroup() as asking:
            follower.look(asking)
            await eventually(lambda: admission.max_in_flight == 17)
            slow.set()


async def test_an_idle_engine_is_not_asked_and_a_busy_one_is(tmp_path: Path) -> None:
    async with stack(tmp_path, follow_engines=False) as s:
        slept = asyncio.Semaphore(0)
        follower = LoadFollower(s.gateway.replicas, s.gateway.admission, lambda _: slept.acquire())
        task = asyncio.create_task(follower.run())
        s.engine.load = says(1, 0)
        hold = asyncio.Event()
        s.engine.answers["base"] = Answer(hold_head=hold)

        def asked() -> int:
            return sum(one.path == "/metrics" for one in s.engine.received)

        for _ in range(3):
            slept.release()
            await asyncio.sleep(0)
        assert asked() == 0
        asking = [asyncio.ensure_future(s.chat(model="base")) for _ in range(FEW)]
        await s.engine.until(lambda: s.engine.active == FEW)
        slept.release()
        await eventually(lambda: asked() == 1)
        hold.set()
        await asyncio.gather(*asking)
        task.cancel()


async def test_a_gateway_follows_unless_it_is_told_not_to(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        assert "engines' load" in {one.get_name() for one in asyncio.all_tasks()}
        assert (await s.client.get("/health")).json()["max_in_flight"] == 512
