"""Exact to the token: what answers, streams, pipelines and clients that leave have used, after a kill too."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import yaml

from gateway.metrics.ledger import FIGURES
from gateway.usage.database import read_usage
from tests.fakes.fake_engine import Answer, FakeEngine
from tests.support.stack import TASKS, Stack, config_of, eventually, key_of, stack, write_report

pytestmark = pytest.mark.anyio
SECRET = "k" * 40
KEYS: dict[str, object] = {
    "one": key_of(SECRET, tenant="acme"),
}
HEADERS = {"authorization": f"Bearer {SECRET}"}
NAMING, CONCEPT = TASKS["naming"], TASKS["concept"]


def tallied(made: Stack) -> dict[tuple[str, ...], dict[str, int]]:
    """Figures that are not 0."""
    return {
        account: {name: one for name, one in zip(FIGURES, figures, strict=True) if one}
        for account, figures in made.gateway.metrics.ledger.items()
    }


@pytest.mark.usefixtures("both_ways")
@pytest.mark.parametrize("streaming", [False, True])
async def test_an_answer_counts_for_its_key_task_and_adapter(tmp_path: Path, streaming: bool) -> None:
    async with stack(tmp_path, keys=KEYS) as s:
        s.client.headers.update(HEADERS)
        s.engine.answers[NAMING] = Answer(tokens=["a", "b", "c"])
        for _ in range(2):
            assert (await s.chat(stream=streaming)).status_code == 200
        await s.at_rest()
        assert tallied(s) == {
            ("one", "naming", NAMING): {"requests": 2, "prompt_tokens": 14, "completion_tokens": 6}
        }


async def test_a_pipeline_is_one_request_and_its_stages_have_the_tokens(tmp_path: Path) -> None:
    async with stack(tmp_path, keys=KEYS) as s:
        s.client.headers.update(HEADERS)
        s.engine.answers[CONCEPT] = Answer(tokens=[json.dumps({"concepts": [{"definition": "x"}] * 2})])
        s.engine.answers[NAMING] = Answer(tokens=['"Par', 'is"'])
        assert (await s.chat(model="concept-naming")).status_code == 200
        await s.at_rest()
        assert tallied(s) == {
            ("one", "concept-naming", ""): {"requests": 1},
            ("one", "concept", CONCEPT): {"stage_calls": 1, "prompt_tokens": 7, "completion_tokens": 1},
            ("one", "naming", NAMING): {"stage_calls": 2, "prompt_tokens": 14, "completion_tokens": 4},
        }


@pytest.mark.usefixtures("both_ways")
async def test_a_client_that_leaves_is_counted_with_what_it_got(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        s.engine.answers[NAMING] = Answer(tokens=["a", "b", "c"], hold_token={2: asyncio.Event()})
        reader, writer = await s.open(stream=True)
        await reader.readuntil(b'"b"')
        writer.transport.abort()
        await s.at_rest()
        assert tallied(s) == {("", "naming", NAMING): {"requests": 1, "cut_off": 1, "cut_off_events": 2}}


async def test_what_never_reached_an_engine_counts_for_nobody(tmp_path: Path) -> None:
    async with stack(tmp_path, ready=False, cold_timeout_s=0.01) as s:
        assert (await s.chat()).status_code == 503
        assert (await s.chat(model="nobody")).status_code == 404
        assert tallied(s) == {}


async def test_the_end_writes_what_was_counted(tmp_path: Path) -> None:
    async with stack(tmp_path, keys=KEYS) as s:
        s.client.headers.update(HEADERS)
        s.engine.answers[NAMING] = Answer(tokens=["a"])
        await s.chat()
    assert used_in(tmp_path) == (1, 7, 1)


def used_in(folder: Path) -> tuple[int, int, int]:
    """Requests and tokens that stand in the file."""
    used = read_usage(folder, ["task"], "2020-01-01")
    requests, _, prompt, completion, *_ = used[0].figures if used else (0,) * len(FIGURES)
    return requests, prompt, completion


@asynccontextmanager
async def gateway_process(folder: Path, workers: int) -> AsyncIterator[tuple[httpx.AsyncClient, int]]:
    """A real one; killed with all its workers at the end. The client, and the leader's process id."""
    document = config_of(folder, keys=KEYS, workers=workers).model_dump(mode="json", by_alias=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(document))
    log = folder / "gateway.log"
    command = [sys.executable, "-m", "gateway", "--config", str(folder / "config.yaml"), "--port", "0"]
    with log.open("wb") as written:
        started = await asyncio.create_subprocess_exec(*command, stderr=written, start_new_session=True)
    try:
        await eventually(lambda: b"listening on " in log.read_bytes(), limit_s=60)
        url = log.read_text().partition("listening on ")[2].split()[0]
        async with httpx.AsyncClient(base_url=url, headers=HEADERS, timeout=30) as client:
            yield client, started.pid
    finally:
        if started.returncode is None:
            os.killpg(started.pid, signal.SIGKILL)
        await started.wait()


async def ask(client: httpx.AsyncClient, times: int) -> None:
    async def one() -> None:
        body = {"model": "naming", "messages": [{"role": "user", "content": "cat"}]}
        headers = {"connection": "close"}  # the next may come to another worker
        answer = await client.post("/v1/chat/completions", json=body, headers=headers)
        assert answer.status_code == 200, answer.text

    await asyncio.gather(*(one() for _ in range(times)))


async def test_a_kill_loses_no_more_than_what_was_not_written_yet(tmp_path: Path) -> None:
    """Two workers, killed twice: what stood in the file stays, each count once and whole."""
    engine = FakeEngine()
    url = await engine.start()
    engine.answers[NAMING] = Answer(tokens=["a", "b", "c"])
    write_report(config_of(tmp_path, workers=2), url=url, state="ready", started_at=1.0)
    lowest = highest = 0
    try:
        for _ in range(2):
            async with gateway_process(tmp_path, workers=2) as (client, leader):
                await ask(client, 20)
                highest += 20
                before = lowest

                def all_written(wanted: int = before + 20) -> bool:
                    return used_in(tmp_path)[0] >= wanted

                await eventually(all_written, limit_s=30)
                lowest = used_in(tmp_path)[0]
                await ask(client, 10)
                highest += 10
                os.killpg(leader, signal.SIGKILL)
            requests, prompt, completion = used_in(tmp_path)
            assert lowest <= requests <= highest
            assert (prompt, completion) == (7 * requests, 3 * requests)
            lowest = highest = requests
    finally:
        await engine.stop()
