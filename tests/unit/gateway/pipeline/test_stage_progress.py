"""A pipeline's stages, told within its stream to whoever asks for it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import MutableMapping
from pathlib import Path

import pytest

from gateway.pipeline.stage_progress import StageProgress
from tests.support.named_events import pipeline_answers
from tests.support.stack import Stack, stack
from tests.support.waiting import turns

pytestmark = pytest.mark.anyio


async def streamed(running: Stack, **headers: str) -> str:
    pipeline_answers(running)
    body = {"model": "concept-naming", "messages": [{"role": "user", "content": "one, two"}], "stream": True}
    answer = await running.client.post("/v1/chat/completions", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.text


async def test_every_call_of_every_stage_is_told_with_its_times(tmp_path: Path) -> None:
    async with stack(tmp_path) as running:
        text = await streamed(running, **{"x-pipeline-progress": "comments"})
    told = [json.loads(line[8:]) for line in text.splitlines() if line.startswith(": stage ")]
    calls = {(one["stage"], one["call"], one["what"]): one["ms"] for one in told}
    assert len(calls) == len(told)
    for stage, call in (("extract", 1), ("name", 1), ("name", 2)):
        assert 0 <= calls[stage, call, "begin"] <= calls[stage, call, "end"]
    assert calls["extract", 1, "begin"] == min(calls.values())
    assert text.endswith("data: [DONE]\n\n")


async def test_a_stream_is_the_same_but_for_the_comments(tmp_path: Path) -> None:
    async with stack(tmp_path) as running:
        plain = await streamed(running)
        told = await streamed(running, **{"x-pipeline-progress": "comments"})
        other = await streamed(running, **{"x-pipeline-progress": "1"})
    assert ": stage" not in plain + other

    def contents(text: str) -> list[object]:
        lines = [line[6:] for line in text.splitlines() if line.startswith("data: {")]
        return [json.loads(line)["choices"][0]["delta"] for line in lines]

    assert contents(plain) == contents(told)


async def test_nothing_is_sent_after_the_block_and_nothing_is_lost() -> None:
    progress, sent = StageProgress(), []
    arrived = asyncio.Event()

    async def send(message: dict[str, object]) -> None:
        sent.append(message["body"])
        arrived.set()

    progress.saw("extract", 1, "begin", 0.0)
    async with progress.telling(send):  # type: ignore[arg-type]
        await arrived.wait()
    progress.saw("extract", 1, "end", 5.5)
    assert sent == [b': stage {"stage":"extract","call":1,"what":"begin","ms":0.0}\n\n']
    assert progress.rest() == b': stage {"stage":"extract","call":1,"what":"end","ms":5.5}\n\n'
    assert progress.rest() == b""


async def test_who_is_cancelled_at_the_end_of_the_block_is_cancelled() -> None:
    """As when the gateway ends while a slow client has not taken what it was told."""
    progress, sending, leaving, taken = StageProgress(), asyncio.Event(), asyncio.Event(), asyncio.Event()
    went_on = False

    async def send(message: dict[str, object]) -> None:
        sending.set()
        try:
            await asyncio.Event().wait()
        finally:
            leaving.set()
            await taken.wait()

    async def answer() -> None:
        nonlocal went_on
        async with progress.telling(send):  # type: ignore[arg-type]
            await sending.wait()
        went_on = True

    progress.saw("extract", 1, "begin", 0.0)
    answering = asyncio.create_task(answer())
    await leaving.wait()
    answering.cancel()
    await turns(5)
    taken.set()
    await asyncio.wait([answering])
    assert (answering.cancelled(), went_on) == (True, False)


async def test_what_is_seen_while_a_client_takes_its_time_is_told_next() -> None:
    progress, sent, taken = StageProgress(), list[object](), asyncio.Event()

    async def send(message: MutableMapping[str, object]) -> None:
        sent.append(message["body"])
        await taken.wait()

    async with progress.telling(send):
        progress.saw("extract", 1, "begin", 0.0)
        await turns(5)
        progress.saw("extract", 1, "end", 1.0)
        taken.set()
        await turns(5)
        assert len(sent) == 2
