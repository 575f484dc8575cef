"""Requests that come while no engine is ready: who waits, what they hear meanwhile, and how it ends."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.routing.availability import Availability
from gateway.routing.cold_start import HEARTBEAT_S
from tests.fakes.fake_engine import Answer
from tests.support.controlled import Controlled, beats, controlled, says
from tests.support.stack import TASKS, eventually, key_of
from tests.support.waiting import calls

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("both_ways")]


@asynccontextmanager
async def cold(folder: Path, **settings: Any) -> AsyncIterator[Controlled]:
    """A lazy engine that stands still; at the end nobody may be left in the room."""
    async with controlled(folder, "stopped", lazy=True, **settings) as c:
        yield c
        gateway = c.stack.gateway
        await eventually(lambda: not gateway.room.waiting)
        await c.stack.at_rest()
        gauges = {key: value for key, value in c.stack.samples().items() if "in_flight" in key[0]}
        assert not any(gauges.values())


async def starting(c: Controlled, **fields: Any) -> None:
    await c.state("starting", stage="loading weights", started_at=time.time() - 3, lazy=True, **fields)


def waiting(c: Controlled) -> int:
    return c.stack.gateway.room.waiting


def events(text: str) -> list[str]:
    return [block for block in text.split("\n\n") if block]


async def test_whole_answer_waits_for_the_engine(tmp_path: Path) -> None:
    async with cold(tmp_path) as c:
        asking = asyncio.create_task(c.stack.chat())
        await c.control.until(lambda: c.control.starts() == 1)
        await starting(c)
        await c.control.until_reported(lambda report: report.waiting == 1)
        assert not asking.done()
        await c.state("ready")
        answer = await asking
        assert says(answer) == TASKS["naming"]
        assert answer.headers["x-gateway-cold"] == "true"
        assert float(answer.headers["x-gateway-queue-ms"]) > 0
        warm = await c.stack.chat()
        assert "x-gateway-cold" not in warm.headers


async def test_demand_is_told_exactly_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.routing.snapshot_follower.DEMAND_EVERY_S", 0.02)
    monkeypatch.setattr(Availability, "wants_start", Availability.wants_start)  # put back at the end
    async with cold(tmp_path) as c:
        asking = [asyncio.create_task(c.stack.chat(model=model)) for model in ("naming", "concept") * 3]
        await eventually(lambda: waiting(c) == 6)
        await c.control.until(lambda: c.control.starts() == 1)
        looks = calls(Availability, "wants_start")
        await eventually(lambda: len(looks) == 5)
        await c.tell()  # news, but none of the engine
        await eventually(lambda: len(looks) == 10)
        assert c.control.starts() == 1
        await starting(c)
        await c.state("ready", lazy=True)
        assert {(await each).status_code for each in asking} == {200}
        assert c.control.starts() == 1
        await c.state("stopped", lazy=True)  # it was idle for long
        again = asyncio.create_task(c.stack.chat())
        await c.control.until(lambda: c.control.starts() == 2)
        await c.state("ready", lazy=True)
        assert (await again).status_code == 200


async def test_demand_that_was_not_heard_is_told_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.routing.snapshot_follower.DEMAND_EVERY_S", 0.02)
    async with cold(tmp_path) as c:
        c.control.statuses["/engines/start"] = 500
        asking = asyncio.create_task(c.stack.chat())
        await c.control.until(lambda: c.control.starts() >= 3)
        c.control.statuses.clear()
        heard = c.control.starts()
        await c.control.until(lambda: c.control.starts() == heard + 1)
        await c.state("ready", lazy=True)
        assert (await asking).status_code == 200


async def test_engine_that_stands_still_again_is_asked_for_again(tmp_path: Path) -> None:
    async with cold(tmp_path) as c:
        asking = asyncio.create_task(c.stack.chat())
        await c.control.until(lambda: c.control.starts() == 1)
        await starting(c)
        await asyncio.sleep(0)
        await c.state("stopped", lazy=True, started_at=5.0)
        await c.control.until(lambda: c.control.starts() == 2)
        await c.state("ready", lazy=True)
        assert (await asking).status_code == 200


@pytest.mark.parametrize("state", ["sleeping", "draining"])
async def test_engine_that_sleeps_or_drains_is_asked_for(tmp_path: Path, state: str) -> None:
    async with cold(tmp_path) as c:
        await c.state(state, lazy=True)  # type: ignore[arg-type]  # one of the states
        asking = asyncio.create_task(c.stack.chat())
        await c.control.until(lambda: c.control.starts() == 1)
        await c.state("ready", lazy=True)
        assert says(await asking) == TASKS["naming"]


async def test_waiter_that_leaves_does_not_stop_the_load(tmp_path: Path) -> None:
    async with cold(tmp_path) as c:
        staying = asyncio.create_task(c.stack.chat())
        _, leaving = await c.stack.open(stream=True)
        await eventually(lambda: waiting(c) == 2)
        await starting(c)
        leaving.transport.abort()
        await eventually(lambda: waiting(c) == 1)
        await c.control.until_reported(lambda report: report.waiting == 1)
        await c.state("ready", lazy=True)
        assert (await staying).status_code == 200
        assert [(one.method, one.path) for one in c.control.asked if one.path != "/gateways"] == [
            ("POST", "/engines/start")
        ]
        assert c.stack.samples()["cancellations_total", "adapter=", "origin=client", "task=naming"] == 1


async def test_client_that_leaves_frees_its_place_in_the_room(tmp_path: Path) -> None:
    async with cold(tmp_path, max_cold_waiting=2, heartbeat_s=0.02) as c:
        leaving = [(await c.stack.open(stream=stream))[1] for stream in (True, False)]
        await eventually(lambda: waiting(c) == 2)
        assert (await c.stack.chat()).status_code == 503
        for writer in leaving:
            writer.transport.abort()
        await eventually(lambda: waiting(c) == 0)
        asking = [asyncio.create_task(c.stack.chat()) for _ in range(2)]
        await eventually(lambda: waiting(c) == 2)
        await c.state("ready", lazy=True)
        assert {(await each).status_code for each in asking} == {200}


def test_streams_hear_something_at_least_every_five_seconds() -> None:
    assert HEARTBEAT_S < 5


async def test_stream_hears_what_the_engine_does(tmp_path: Path) -> None:
    async with cold(tmp_path, heartbeat_s=0.03) as c:
        asked = {"model": "naming", "stream": True, "messages": [{"role": "user", "content": "cat"}]}
        seen: list[str] = []
        async with c.stack.client.stream("POST", "/v1/chat/completions", json=asked) as answer:
            assert answer.status_code == 200
            assert answer.headers["x-gateway-cold"] == "true"
            assert answer.headers["x-gateway-task"] == "naming"
            assert answer.headers["content-type"].startswith("text/event-stream")
            async for line in answer.aiter_lines():
                if line:
                    seen.append(line)
                if len(seen) == 2:
                    await starting(c)
                if len(seen) == 5:
                    await c.state("ready", lazy=True)
        assert seen[0] == ": engine starting (waiting for a start), 0 s"
        assert any(": engine starting (loading weights), " in line for line in seen)
        comments = [line for line in seen if line.startswith(":")]
        assert seen[: len(comments)] == comments  # none once the answer has begun
        data = [line for line in seen if line.startswith("data: ")]
        assert data[-1] == "data: [DONE]"
        assert {json.loads(line[6:])["model"] for line in data[:-1]} == {TASKS["naming"]}
        assert "include_usage" in c.engine.completions[-1].body.decode()
        assert not any('"usage":{' in line for line in data)  # which this client did not ask for


async def test_stream_that_is_answered_before_its_first_heartbeat_has_all_headers(tmp_path: Path) -> None:
    async with cold(tmp_path) as c:
        asking = asyncio.create_task(c.stack.chat(stream=True))
        await eventually(lambda: waiting(c) == 1)
        await c.state("ready", lazy=True)
        answer = await asking
        assert says(answer) == TASKS["naming"]
        assert answer.headers["x-gateway-cold"] == "true"


async def test_pipeline_waits_too(tmp_path: Path) -> None:
    async with cold(tmp_path, heartbeat_s=0.03) as c:
        c.engine.answers[TASKS["concept"]] = Answer(['{"concepts": [{"definition": "a"}]}'])
        c.engine.answers[TASKS["naming"]] = Answer(['"x"'])
        whole = asyncio.create_task(c.stack.chat(model="concept-naming"))
        with beats() as sent:
            streamed = asyncio.create_task(c.stack.chat(model="concept-naming", stream=True))
            await eventually(lambda: waiting(c) == 2 and bool(sent))
        await c.state("ready", lazy=True)
        answer = await whole
        assert (answer.status_code, answer.headers["x-gateway-cold"]) == (200, "true")
        text = (await streamed).text
        assert text.startswith(": engine starting")
        assert text.endswith("data: [DONE]\n\n")


async def test_full_room_is_503_with_an_honest_retry_after(tmp_path: Path) -> None:
    async with cold(tmp_path, max_cold_waiting=2) as c:
        await starting(c, load_s=43.0)
        asking = [asyncio.create_task(c.stack.chat()) for _ in range(2)]
        await eventually(lambda: waiting(c) == 2)
        for stream in (False, True):
            refused = await c.stack.chat(stream=stream)
            assert refused.status_code == 503
            assert refused.json()["error"]["code"] == "engine_starting"
            assert "2 requests wait" in refused.json()["error"]["message"]
            assert 35 <= int(refused.headers["retry-after"]) <= 40
        await c.state("ready", lazy=True)
        assert {(await each).status_code for each in asking} == {200}


async def test_a_key_that_fills_the_room_gives_way_to_others(tmp_path: Path) -> None:
    keys = {name: key_of(name) for name in ("flood", "light")}
    asked = {"model": "naming", "messages": [{"role": "user", "content": "cat"}]}
    async with cold(tmp_path, max_cold_waiting=3, keys=keys) as c:
        await starting(c, load_s=43.0)

        def ask(name: str) -> asyncio.Task[httpx.Response]:
            headers = {"authorization": f"Bearer {name}"}
            return asyncio.create_task(
                c.stack.client.post("/v1/chat/completions", json=asked, headers=headers)
            )

        flood: list[asyncio.Task[httpx.Response]] = []
        for number in range(1, 4):
            flood.append(ask("flood"))
            await eventually(lambda number=number: waiting(c) == number)  # type: ignore[misc]
        light = ask("light")
        refused = await flood.pop()
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "engine_starting")
        assert "3 requests wait" in refused.json()["error"]["message"]
        assert waiting(c) == 3
        assert (await ask("flood")).status_code == 503, "it has most waiting by itself"
        await c.state("ready", lazy=True)
        assert [(await each).status_code for each in (*flood, light)] == [200] * 3


async def test_no_room_at_all_is_503_at_once(tmp_path: Path) -> None:
    async with cold(tmp_path, max_cold_waiting=0) as c:
        assert (await c.stack.chat()).status_code == 503


async def test_too_long_is_503_with_what_the_engine_does(tmp_path: Path) -> None:
    async with cold(tmp_path, cold_timeout_s=0.1) as c:
        await starting(c, load_s=60.0)
        answer = await c.stack.chat()
        assert answer.status_code == 503
        error = answer.json()["error"]
        assert error["code"] == "engine_starting"
        assert re.search(r"loading weights, \d+ s so far", error["message"])
        assert 50 <= int(answer.headers["retry-after"]) <= 60
        assert answer.headers["x-gateway-cold"] == "true"


async def test_too_long_in_a_stream_that_has_begun_is_an_error_event_and_its_end(tmp_path: Path) -> None:
    async with cold(tmp_path, cold_timeout_s=0.15, heartbeat_s=0.03) as c:
        await starting(c)
        answer = await c.stack.chat(stream=True)
        assert answer.status_code == 200
        *comments, last = events(answer.text)
        assert comments
        assert all(each.startswith(": engine starting") for each in comments)
        assert json.loads(last.removeprefix("data: "))["error"]["code"] == "engine_starting"
        key = ("errors_total", "adapter=", "code=engine_starting", "origin=client", "task=naming")
        assert c.stack.samples()[key] == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_engine_that_fails_meanwhile_is_503_with_the_reason(tmp_path: Path, stream: bool) -> None:
    async with cold(tmp_path, heartbeat_s=0.03) as c:
        with beats() as sent:
            asking = asyncio.create_task(c.stack.chat(stream=stream))
            await starting(c)
            await eventually(lambda: waiting(c) == 1 and bool(sent) == stream)
        await c.state("failed", reason="out of memory: lower gpu_memory_utilization", kind="out_of_memory")
        answer = await asking
        if stream:
            assert answer.status_code == 200
            error = json.loads(events(answer.text)[-1].removeprefix("data: "))["error"]
        else:
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "10")
            error = answer.json()["error"]
        assert error["code"] == "engine_not_running"
        assert "out of memory: lower gpu_memory_utilization" in error["message"]
        again = await c.stack.chat()  # nobody waits for an engine that stays away
        assert (again.status_code, again.json()["error"]["code"]) == (503, "engine_not_running")


async def test_engine_that_will_be_tried_again_is_waited_for(tmp_path: Path) -> None:
    async with cold(tmp_path) as c:
        asking = asyncio.create_task(c.stack.chat())
        await starting(c)
        await c.state("failed", reason="crash", next_try_at=time.time() + 9)
        await c.control.until_reported(lambda report: report.version == c.version and report.waiting == 1)
        await c.state("ready")
        assert (await asking).status_code == 200


async def test_engine_without_the_adapter_is_503_with_the_reason(tmp_path: Path) -> None:
    async with cold(tmp_path) as c:
        asking = asyncio.create_task(c.stack.chat())
        await eventually(lambda: waiting(c) == 1)
        await c.state("ready", TASKS["concept"], lazy=True)
        answer = await asking
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "adapter_not_loaded")


async def test_task_that_is_removed_meanwhile_is_503_or_404(tmp_path: Path) -> None:
    async with cold(tmp_path) as c:
        asking = asyncio.create_task(c.stack.chat())
        await eventually(lambda: waiting(c) == 1)
        await c.tell(
            [c.status("ready", TASKS["concept"])], {"concept": {TASKS["concept"]: 100.0}}, pipelines={}
        )
        assert (await asking).status_code in (404, 503)


async def test_engine_that_waits_for_no_request_is_not_waited_for(tmp_path: Path) -> None:
    async with cold(tmp_path) as c:
        await c.state("stopped", lazy=False)
        answer = await c.stack.chat(stream=True)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "engine_not_running")
        assert c.control.starts() == 0


async def test_control_plane_that_comes_back_soon_is_waited_for(tmp_path: Path) -> None:
    async with cold(tmp_path) as c:
        asking = asyncio.create_task(c.stack.chat())
        await c.control.until(lambda: c.control.starts() == 1)
        c.control.break_off()
        await eventually(lambda: not c.replicas.control_alive)
        await c.connected()
        await c.control.until(lambda: c.control.starts() == 2)  # the new one has not heard of it
        await c.state("ready", lazy=True)
        assert (await asking).status_code == 200


async def test_control_plane_that_stays_away_ends_the_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.routing.availability.RETURNS_WITHIN_S", 0.3)
    async with cold(tmp_path) as c:
        asking: asyncio.Task[httpx.Response] = asyncio.create_task(c.stack.chat())
        await eventually(lambda: waiting(c) == 1)
        await c.control.stop()
        async with asyncio.timeout(3):
            answer = await asking
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "engine_not_running")
        assert (await c.stack.chat()).status_code == 503


@pytest.mark.parametrize("stream", [False, True])
async def test_request_that_meets_a_dead_engine_waits_for_its_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    monkeypatch.setattr(
        "gateway.routing.cold_start.NOTICED_WITHIN_S", 60.0
    )  # a busy machine's test takes longer
    async with cold(tmp_path, heartbeat_s=0.03) as c:
        await c.state("ready", lazy=True)
        await c.engine.stop()
        asking = asyncio.create_task(c.stack.chat(stream=stream))
        await eventually(lambda: c.replica().failures >= 1)
        await c.state("failed", reason="crash", next_try_at=time.time() + 1)
        await eventually(lambda: waiting(c) == 1)
        await c.engine.start()
        await c.state("ready", lazy=True, pid=2)
        answer = await asking
        assert answer.status_code == 200
        if not answer.text.startswith(":"):
            assert says(answer) == TASKS["naming"]
            assert answer.headers["x-gateway-cold"] == "true"


async def test_bad_request_is_refused_before_it_waits(tmp_path: Path) -> None:
    async with cold(tmp_path) as c:
        for fields, status in (({"n": 10_000}, 400), ({"model": "nobody"}, 404), ({"api_key": "x"}, 400)):
            assert (await c.stack.chat(**fields)).status_code == status
        assert c.control.starts() == 0


async def test_refusal_by_the_engine_after_heartbeats_is_an_event_in_one_line(tmp_path: Path) -> None:
    async with cold(tmp_path, heartbeat_s=0.03) as c:
        body = b'{\r\n  "error": {"message": "no",\n "code": 400}\n}'
        c.engine.answers[TASKS["naming"]] = Answer(status=400, body=body)
        with beats() as sent:
            asking = asyncio.create_task(c.stack.chat(stream=True))
            await eventually(lambda: bool(sent))
        await c.state("ready", lazy=True)
        *_, last = events((await asking).text)
        error = json.loads(last.removeprefix("data: "))["error"]
        assert (error["message"], error["type"]) == ("no", "invalid_request_error")


async def test_many_who_come_and_go_leave_nothing(tmp_path: Path) -> None:
    async with cold(tmp_path, max_cold_waiting=20, heartbeat_s=0.01) as c:
        staying: list[asyncio.Task[httpx.Response]] = []
        opened: list[asyncio.StreamWriter] = []
        left = 0
        for number in range(60):
            if number % 3:
                opened.append((await c.stack.open(stream=number % 2 == 0))[1])
            else:
                staying.append(asyncio.create_task(c.stack.chat(stream=number % 2 == 0)))
            if number % 10 == 5:
                await starting(c)
            if left < len(opened) and number % 4 == 0:
                opened[left].transport.abort()
                left += 1
            assert waiting(c) <= 20
        for writer in opened:
            writer.transport.abort()
        await c.state("ready", lazy=True)
        statuses = {(await each).status_code for each in staying}
        assert statuses <= {200, 503}
        assert 200 in statuses
