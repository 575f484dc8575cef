"""Pipelines under load: let in once, with room for their calls, or not at all."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx
import pytest

from gateway.admission.limits import Admission
from gateway.admission.lobby import Lobby, Seat
from gateway.admission.turns.fair_turns import whose_of
from gateway.errors import DeadlineExceeded, DeadlineUnreachable, TooManyRequests, Unavailable
from tests.fakes.fake_engine import Answer
from tests.fakes.virtual_time import virtual
from tests.support.stack import TASKS, Stack, config_of, eventually, stack
from tests.support.waiting import turns

pytestmark = pytest.mark.anyio


def elements(count: int) -> str:
    return json.dumps({"concepts": [{"members": ["cat"], "definition": f"d{n}"} for n in range(count)]})


def answers(s: Stack, count: int) -> None:
    s.engine.answers[TASKS["concept"]] = Answer(tokens=[elements(count)])
    s.engine.answers[TASKS["naming"]] = Answer(tokens=['"pets"'])


async def ask(s: Stack, times: int) -> list[httpx.Response]:
    async with httpx.AsyncClient(base_url=s.client.base_url, timeout=60, limits=httpx.Limits()) as client:
        body = {"model": "concept-naming", "messages": [{"role": "user", "content": "cat\ndog"}]}
        return await asyncio.gather(*(client.post("/v1/chat/completions", json=body) for _ in range(times)))


def asked(s: Stack) -> Counter[str]:
    return Counter(str(request.json["model"]) for request in s.engine.completions)


async def test_twenty_pipelines_of_forty_elements_are_answered_at_default_bounds(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        answers(s, 40)
        got = await ask(s, 20)
        assert [answer.status_code for answer in got] == [200] * 20, got[0].text
        assert all(one.json()["usage"]["stages"][1]["calls"] == 40 for one in got)
        assert asked(s) == {TASKS["concept"]: 20, TASKS["naming"]: 800}
        await s.at_rest()


async def test_more_elements_than_places_and_queue_take_turns(tmp_path: Path) -> None:
    async with stack(tmp_path, max_in_flight_per_task=3, max_waiting_per_task=8) as s:
        answers(s, 40)
        most = 0
        async with asyncio.TaskGroup() as group:
            asking = group.create_task(ask(s, 6))
            while not asking.done():
                most = max(most, s.engine.active)
                await asyncio.sleep(0)
        assert [answer.status_code for answer in asking.result()] == [200] * 6
        assert asked(s) == {TASKS["concept"]: 6, TASKS["naming"]: 240}
        assert most <= 6  # three of each task
        await s.at_rest()


async def test_pipeline_that_finds_no_room_is_refused_before_any_work(tmp_path: Path) -> None:
    async with stack(tmp_path, max_in_flight_per_task=1, max_waiting_per_task=2) as s:
        answers(s, 2)
        hold = asyncio.Event()
        s.engine.answers[TASKS["concept"]] = Answer(tokens=[elements(2)], hold_head=hold)
        asking = asyncio.create_task(ask(s, 9))
        await eventually(lambda: s.samples().get(("requests_waiting", "task=concept-naming")) == 2)
        hold.set()
        statuses = Counter(answer.status_code for answer in await asking)
        assert set(statuses) == {200, 429}
        assert asked(s) == {TASKS["concept"]: statuses[200], TASKS["naming"]: 2 * statuses[200]}
        refused = [answer for answer in asking.result() if answer.status_code == 429]
        assert "'concept-naming' has 2 waiting" in refused[0].json()["error"]["message"]
        assert refused[0].headers["retry-after"]
        await s.at_rest()


def admission(folder: Path, clock: Callable[[], float] = time.monotonic) -> Admission:
    """Four places, and four to wait, half of them for pipelines."""
    bounds = config_of(folder, max_in_flight_per_task=4, max_waiting_per_task=4, queue_timeout_s=60)
    return Admission(bounds, clock=clock)


@asynccontextmanager
async def full(lobby: Lobby) -> AsyncIterator[Seat]:
    """Three pipelines that fill it; the first one's seat."""
    async with AsyncExitStack() as house:
        seats = [
            await house.enter_async_context(lobby.seat("concept-naming", {"naming": 2})) for _ in range(3)
        ]
        yield seats[0]


async def enter(lobby: Lobby, *calls: str) -> None:
    async with lobby.seat("concept-naming", Counter(calls)):
        pass


@asynccontextmanager
async def call(seat: Seat, task: str) -> AsyncIterator[None]:
    """As the calls of a pipeline take their turns."""
    async with seat.turns[task]:
        seat.begins(task)
        yield


async def test_room_is_for_what_is_expected_and_comes_back_when_all_is_known(tmp_path: Path) -> None:
    lobby = Lobby(admission(tmp_path))
    async with full(lobby) as first:
        waiting = asyncio.create_task(enter(lobby, "naming"))
        await turns()
        assert not waiting.done()
        first.all_known()
        await waiting
    assert not +lobby.expected


async def test_call_that_is_made_is_expected_no_longer_and_has_its_turn(tmp_path: Path) -> None:
    lobby = Lobby(admission(tmp_path))
    async with lobby.seat("concept-naming", {"naming": 2}) as seat:
        assert set(seat.turns) == {"naming"}
        async with AsyncExitStack() as calls:
            for _ in range(4):
                await calls.enter_async_context(call(seat, "naming"))
            assert not +lobby.expected
            fifth = asyncio.create_task(calls.enter_async_context(call(seat, "naming")))
            await turns()
            assert not fifth.done()
            fifth.cancel()


async def test_a_large_one_is_not_passed_by_small_ones(tmp_path: Path) -> None:
    lobby, order = Lobby(admission(tmp_path)), list[str]()

    async def run(name: str, *calls: str) -> None:
        pipeline = "concept" if name == "elsewhere" else "concept-naming"  # each has its own tasks
        async with lobby.seat(pipeline, Counter(calls)):
            order.append(name)

    async with asyncio.TaskGroup() as group, full(lobby) as first:
        async with call(first, "naming"):  # room for one
            for name, calls in (("large", ["naming"] * 2), ("small", ["naming"]), ("elsewhere", ["concept"])):
                group.create_task(run(name, *calls))
            await turns()
        assert order == ["elsewhere"]
    assert order == ["elsewhere", "large", "small"]


async def test_who_leaves_the_lobby_leaves_nothing(tmp_path: Path) -> None:
    bounds = admission(tmp_path)
    lobby = Lobby(bounds)
    async with full(lobby) as first:
        leaving = [asyncio.create_task(enter(lobby, "naming", "naming")) for _ in range(4)]
        await turns()
        assert bounds.waiting == 4
        with pytest.raises(TooManyRequests, match="'concept-naming' has 4 waiting"):
            await enter(lobby, "naming")
        leaving[3].cancel()
        await turns()
        assert bounds.waiting == 3
        first.all_known()
        for task in leaving:
            task.cancel()  # the first was let in in this very turn
        await asyncio.wait(leaving)
    assert all(task.cancelled() for task in leaving)
    assert bounds.waiting == 0
    assert not +lobby.expected
    assert bounds.awaited is None


@virtual
async def test_the_wait_for_room_has_an_end(tmp_path: Path) -> None:
    lobby = Lobby(admission(tmp_path))
    async with full(lobby):
        with pytest.raises(Unavailable, match="within 60 s"):
            await enter(lobby, "naming")


async def test_the_gateways_own_bound_is_kept(tmp_path: Path) -> None:
    bounds = Admission(config_of(tmp_path, max_in_flight=2, max_waiting=2, queue_timeout_s=60))
    lobby = Lobby(bounds)
    async with lobby.seat("concept-naming", {"concept": 1, "naming": 8}):  # more than all there is
        waiting = [asyncio.create_task(enter(lobby, "naming")) for _ in range(2)]
        await turns()
        with pytest.raises(Unavailable, match="2 requests are waiting already"):
            await enter(lobby, "naming")
    await asyncio.gather(*waiting)
    assert bounds.waiting == 0


async def test_a_light_keys_pipeline_goes_before_a_floods(tmp_path: Path) -> None:
    lobby, order = Lobby(admission(tmp_path)), list[str]()

    async def run(key: str, tenant: str = "") -> None:
        async with lobby.seat("concept-naming", {"naming": 2}, whose_of(tenant, key)):
            order.append(key)
            await turns()

    async with asyncio.TaskGroup() as group, full(lobby):
        for _ in range(3):
            group.create_task(run("flood"))
        await turns()
        group.create_task(run("light"))
        await turns()
    assert order.index("light") <= 1
    assert len(order) == 4


async def test_a_flood_of_pipelines_refuses_itself(tmp_path: Path) -> None:
    bounds = admission(tmp_path)
    lobby, refused = Lobby(bounds), Counter[str]()

    async def run(key: str) -> None:
        try:
            async with lobby.seat("concept-naming", {"naming": 2}, whose_of("", key)):
                pass
        except TooManyRequests:
            refused[key] += 1

    async with asyncio.TaskGroup() as group, full(lobby):
        for key in ["flood"] * 6 + ["light"] * 2 + ["flood"] * 2:
            group.create_task(run(key))
            await turns()
        assert (refused, bounds.waiting) == ({"flood": 6}, 4)
    assert refused == {"flood": 6}
    assert bounds.waiting == 0


async def test_a_pipeline_that_cannot_begin_in_time_is_refused_at_once(tmp_path: Path) -> None:
    now = 0.0
    lobby = Lobby(admission(tmp_path, lambda: now))
    pace = lobby.admission.gates["concept-naming"].pace
    async with full(lobby):
        with pytest.raises(DeadlineExceeded):  # nothing is known yet of how long it takes
            async with lobby.seat("concept-naming", {"naming": 2}, left_s=0.01):
                pass
        waiting = asyncio.create_task(enter(lobby, "naming", "naming"))
        await turns()
        for _ in range(10):
            now += 2.0
            pace.lets_in(now)  # one begins every two seconds
        with pytest.raises(DeadlineUnreachable, match="1 waiting"):
            async with lobby.seat("concept-naming", {"naming": 2}, left_s=1.5):
                pass
        assert lobby.admission.waiting == 1
    await waiting


async def test_the_wait_that_is_ahead_counts_pipelines_that_wait(tmp_path: Path) -> None:
    now = 3600.0
    bounds = admission(tmp_path, lambda: now)
    lobby = Lobby(bounds)
    async with full(lobby):
        waiting = [asyncio.create_task(enter(lobby, "naming", "naming")) for _ in range(2)]
        await turns()
        assert bounds.queue_s == 0, "they have just begun to wait"
        now += 3.0
    await asyncio.wait(waiting)
    async with full(lobby):
        waiting = [asyncio.create_task(enter(lobby, "naming", "naming")) for _ in range(2)]
        await turns()
        now += 3.0
        assert 3.0 <= bounds.queue_s <= 6.0, "two wait, and two had waited three seconds for their places"
    await asyncio.wait(waiting)


async def test_who_leaves_just_now_is_not_pushed_out(tmp_path: Path) -> None:
    lobby = Lobby(admission(tmp_path))
    async with full(lobby):
        leaving = [asyncio.create_task(enter(lobby, "naming", "naming")) for _ in range(4)]
        await turns()
        for task in leaving:
            task.cancel()  # their own coroutines have yet to notice
        with pytest.raises(TooManyRequests):
            async with lobby.seat("concept-naming", {"naming": 2}, whose_of("", "light")):
                pass
        await asyncio.wait(leaving)
    assert lobby.admission.waiting == 0
