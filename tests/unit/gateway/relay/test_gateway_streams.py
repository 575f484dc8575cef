"""Streams, clients that leave, engines that break off, and connections that are used again."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from tests.fakes.fake_engine import Answer
from tests.support.named_events import pipeline_answers
from tests.support.stack import Stack, eventually, stack
from tests.support.waiting import still

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("both_ways")]
NAMING = "naming@bbbbbbbbbbbb"


def events(text: str) -> list[str]:
    return [event.removeprefix("data: ") for event in text.split("\n\n") if event]


async def gone_is_noticed(s: Stack, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()
    await s.engine.until(lambda: s.engine.aborts == 1)
    await s.at_rest()


async def test_first_token_arrives_while_the_second_is_held(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        hold = asyncio.Event()
        s.engine.answers[NAMING] = Answer(hold_token={1: hold})
        reader, writer = await s.open(stream=True)
        async with asyncio.timeout(5):
            await reader.readuntil(b'"Par"')
            assert not hold.is_set()
            hold.set()
            await reader.readuntil(b"data: [DONE]\n\n")
        writer.close()
        await s.at_rest()
        assert s.engine.aborts == 0


async def test_broken_stream_ends_with_an_error_event(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        s.engine.answers[NAMING] = Answer(break_before=1)
        answer = await s.chat(stream=True)
        assert answer.status_code == 200
        assert '"Par"' in answer.text
        assert json.loads(events(answer.text)[-1])["error"]["code"] == "engine_error"
        await s.at_rest()


@pytest.mark.parametrize("stream", [True, False])
async def test_client_gone_before_the_head_aborts(tmp_path: Path, stream: bool) -> None:
    async with stack(tmp_path) as s:
        s.engine.answers[NAMING] = Answer(hold_head=asyncio.Event())
        _, writer = await s.open(stream=stream)
        await s.engine.until(lambda: s.engine.active == 1)
        await gone_is_noticed(s, writer)


@pytest.mark.parametrize("token", [0, 1])
async def test_client_gone_in_a_stream_aborts(tmp_path: Path, token: int) -> None:
    async with stack(tmp_path) as s:
        s.engine.answers[NAMING] = Answer(hold_token={token: asyncio.Event()})
        reader, writer = await s.open(stream=True)
        async with asyncio.timeout(5):
            await reader.readuntil(b'"Par"' if token else b"\r\n\r\n")
        await gone_is_noticed(s, writer)


async def test_client_gone_in_its_body_reaches_no_engine(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        _, writer = await asyncio.open_connection("127.0.0.1", s.port)
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{")
        await writer.drain()
        writer.close()
        assert (await s.chat()).status_code == 200
        assert len(s.engine.completions) == 1
        await s.at_rest()


async def test_client_gone_in_the_queue_leaves_it(tmp_path: Path) -> None:
    async with stack(tmp_path, max_in_flight=1) as s:
        hold = asyncio.Event()
        s.engine.answers[NAMING] = Answer(hold_head=hold)
        first = asyncio.ensure_future(s.chat())
        await s.engine.until(lambda: s.engine.active == 1)
        _, writer = await s.open()
        await eventually(lambda: s.gateway.admission.waiting == 1)
        writer.transport.abort()
        await eventually(lambda: not s.gateway.admission.waiting)
        hold.set()
        assert (await first).status_code == 200
        await s.at_rest()
        assert len(s.engine.completions) == 1


async def test_kept_connection_is_used_again_and_a_lost_race_retried_once(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        await s.chat()
        before = s.engine.connections
        await s.chat()
        assert s.engine.connections == before
        s.engine.close_kept_once = True
        assert (await s.chat()).status_code == 200
        assert s.engine.connections == before + 1
        assert len(s.engine.completions) == 4


async def test_fresh_connection_that_breaks_is_not_retried(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        s.engine.answers[NAMING] = Answer(raw=b"HTTP/1.1 200")
        assert (await s.chat()).status_code == 502
        assert len(s.engine.completions) == 1


async def test_slow_reader_pauses_the_engine(tmp_path: Path) -> None:
    flood = 64 * 1024 * 1024
    async with stack(tmp_path) as s:
        s.engine.answers[NAMING] = Answer(flood_bytes=flood)
        reader, writer = await s.open(stream=True)
        assert await still(lambda: s.engine.sent_bytes) < flood // 2
        total = 0
        async with asyncio.timeout(20):
            while total < flood:
                total += len(await reader.read(1 << 20))
        writer.close()
        await s.at_rest()


async def test_many_clients_gone_at_once_leave_nothing(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        s.engine.answers[NAMING] = Answer(hold_token={1: asyncio.Event()})
        writers = [(await s.open(stream=True))[1] for _ in range(120)]
        await s.engine.until(lambda: s.engine.active == 120)
        for writer in writers:
            writer.transport.abort()
        await s.engine.until(lambda: s.engine.aborts == 120)
        await s.at_rest()
        assert (await s.client.get("/ready")).status_code == 200


async def test_pipeline_answers_whole(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        pipeline_answers(s)
        answer = (await s.chat(model="concept-naming")).json()
        assert "error" not in answer
        concepts = json.loads(answer["choices"][0]["message"]["content"])["concepts"]
        assert [concept["name"] for concept in concepts] == ["name of one", "name of two"]
        assert len(s.engine.completions) == 3
        assert answer["usage"]["total_tokens"] > 0
        await s.at_rest()


async def test_pipeline_stream_gives_the_same_document(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        pipeline_answers(s)
        whole = (await s.chat(model="concept-naming")).json()["choices"][0]["message"]["content"]
        answer = await s.chat(model="concept-naming", stream=True, stream_options={"include_usage": True})
        assert events(answer.text)[-1] == "[DONE]"
        chunks = [json.loads(event) for event in events(answer.text)[:-1]]
        deltas = [choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"]]
        assert json.loads("".join(deltas)) == json.loads(whole)
        assert chunks[-1]["usage"]["total_tokens"] > 0
        await s.at_rest()


async def test_client_gone_in_a_pipeline_aborts_every_call(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        pipeline_answers(s)
        s.engine.answers[NAMING] = Answer(hold_head=asyncio.Event())
        _, writer = await s.open(model="concept-naming", stream=True)
        await s.engine.until(lambda: s.engine.active == 2 and len(s.engine.completions) == 3)
        writer.transport.abort()
        await s.engine.until(lambda: s.engine.aborts == 2)
        await s.at_rest()


async def test_pipeline_stage_failure_is_an_error(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        pipeline_answers(s)
        s.engine.answers[NAMING] = Answer(status=500, body=b"{}")
        answer = await s.chat(model="concept-naming")
        assert answer.status_code in (500, 502)
        assert "error" in answer.json()
        await s.at_rest()
