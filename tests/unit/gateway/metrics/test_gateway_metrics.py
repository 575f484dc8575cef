"""What the gateway counts, request by request: once, under the right labels, and nothing a client made up."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import pytest

from tests.fakes.fake_engine import Answer, Document
from tests.support.stack import Stack, eventually, stack
from tests.unit.gateway.admission.test_auth import KEY, KEYS, LIMITED

pytestmark = pytest.mark.anyio
NAMING = "naming@bbbbbbbbbbbb"
CLIENT = ("adapter=naming@bbbbbbbbbbbb", "origin=client")
TASK = "task=naming"
GAUGES = ("requests_in_flight", "requests_waiting", "workers")


@asynccontextmanager
async def counted(folder: Path, *, express: bool = True, **settings: object) -> AsyncIterator[Stack]:
    """A stack whose every gauge is at zero at its end, and whose histograms agree with each other."""
    async with stack(folder, express=express, **settings) as s:  # type: ignore[arg-type]  # settings of any kind
        yield s
        await s.at_rest()
        samples = s.samples()
        assert not [key for key, value in samples.items() if key[0] in GAUGES[:2] and value]
        assert samples["workers",] == 1


def counts(s: Stack) -> dict[str, float]:
    """Every counter that is not zero, as one readable line; of times, only how many there are."""
    return {
        " ".join(key): value
        for key, value in s.samples().items()
        if value and key[0] not in GAUGES and not key[0].endswith(("_sum", "_bucket", "_created"))
    }


def finished(
    status: int, *, times: int = 1, prompt: int = 0, completion: int = 0, first: int = 0
) -> dict[str, float]:
    """What finished requests of `naming` leave."""
    labels = " ".join((*CLIENT, TASK))
    expected = {
        f"requests_total {' '.join(CLIENT)} status={status} {TASK}": times,
        f"queue_seconds_count {labels}": times,
        f"request_seconds_count {labels}": times,
        f"prompt_tokens_total {labels}": prompt,
        f"completion_tokens_total {labels}": completion,
        f"time_to_first_token_seconds_count {labels}": first,
    }
    return {key: value for key, value in expected.items() if value}


@pytest.mark.parametrize("express", [True, False])
async def test_whole_answer_counts_once_everywhere(tmp_path: Path, express: bool) -> None:
    async with counted(tmp_path, express=express) as s:
        for times in (1, 2, 3):
            assert (await s.chat()).status_code == 200
            await s.at_rest()
            assert counts(s) == finished(200, times=times, prompt=7 * times, completion=2 * times)


@pytest.mark.parametrize("express", [True, False])
@pytest.mark.parametrize(
    "options", [{}, {"stream_options": None}, {"stream_options": {"include_usage": True}}], ids=str
)
async def test_stream_counts_its_tokens_whoever_asked(
    tmp_path: Path, options: dict[str, object], express: bool
) -> None:
    async with counted(tmp_path, express=express) as s:
        for times in (1, 2):
            answer = await s.chat(stream=True, **options)
            asked = bool(options.get("stream_options"))
            assert ('"usage"' in answer.text) is asked
            await s.at_rest()
            assert counts(s) == finished(
                200, times=times, prompt=7 * times, completion=2 * times, first=times
            )


@pytest.mark.parametrize("express", [True, False])
async def test_engines_own_refusal_is_a_finished_request(tmp_path: Path, express: bool) -> None:
    async with counted(tmp_path, express=express) as s:
        s.engine.answers[NAMING] = Answer(status=422, body=b'{"error":{"message":"no"}}')
        for times in (1, 2):
            assert (await s.chat()).status_code == 422
            assert counts(s) == finished(422, times=times)


def failed(status: int, code: str, times: int) -> dict[str, float]:
    labels = " ".join((*CLIENT, TASK))
    return {
        f"requests_total {' '.join(CLIENT)} status={status} {TASK}": times,
        f"errors_total {CLIENT[0]} code={code} {CLIENT[1]} {TASK}": times,
        f"request_seconds_count {labels}": times,
    }


@pytest.mark.parametrize("express", [True, False])
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("answer", "status", "code"),
    [
        (Answer(status=500, body=b"{}"), 500, "engine_error"),
        (Answer(status=503, body=b"{}"), 503, "overloaded"),
        (Answer(raw=b"garbage\r\n\r\n"), 502, "engine_error"),
        (Answer(raw=b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{"), 502, "engine_error"),
    ],
    ids=["500", "503", "garbage", "broken"],
)
async def test_engines_failure_counts_once_under_its_code(
    tmp_path: Path, answer: Answer, status: int, code: str, stream: bool, express: bool
) -> None:
    async with counted(tmp_path, express=express) as s:
        assert (await s.chat(model="base")).status_code == 200  # leaves a connection that is kept
        before = counts(s)
        s.engine.answers[NAMING] = answer
        for times in (1, 2):
            assert (await s.chat(stream=stream)).status_code == status
            await s.at_rest()
            assert {key: value for key, value in counts(s).items() if key not in before} == failed(
                status, code, times
            )


@pytest.mark.parametrize("express", [True, False])
async def test_stream_that_breaks_off_is_a_failure(tmp_path: Path, express: bool) -> None:
    async with counted(tmp_path, express=express) as s:
        s.engine.answers[NAMING] = Answer(break_before=1)
        assert "engine_error" in (await s.chat(stream=True)).text
        await s.at_rest()
        assert counts(s) == failed(502, "engine_error", 1)


@pytest.mark.parametrize("express", [True, False])
@pytest.mark.parametrize("stream", [True, False])
async def test_client_that_leaves_is_a_cancellation(tmp_path: Path, stream: bool, express: bool) -> None:
    async with counted(tmp_path, express=express) as s:
        await s.chat(model="base")
        await s.at_rest()
        before = counts(s)
        s.engine.answers[NAMING] = Answer(hold_token={1: asyncio.Event()})
        reader, writer = await s.open(stream=stream)
        await s.engine.until(lambda: s.engine.active == 1)
        if stream:
            await reader.readuntil(b'"Par"')
        assert s.samples()["requests_in_flight", *CLIENT, TASK] == 1
        writer.transport.abort()
        await s.at_rest()
        labels = " ".join((*CLIENT, TASK))
        expected = {
            f"requests_total {' '.join(CLIENT)} status=499 {TASK}": 1.0,
            f"cancellations_total {labels}": 1.0,
            f"request_seconds_count {labels}": 1.0,
            f"unfinished_stream_events_total {labels}": float(stream),
        }
        after = {key: value for key, value in counts(s).items() if key not in before}
        assert after == {key: value for key, value in expected.items() if value}


async def test_client_that_leaves_the_queue_is_a_cancellation(tmp_path: Path) -> None:
    async with counted(tmp_path, max_in_flight=1) as s:
        hold = asyncio.Event()
        s.engine.answers["base"] = Answer(hold_head=hold)
        first = asyncio.ensure_future(s.chat(model="base"))
        await s.engine.until(lambda: s.engine.active == 1)
        _, writer = await s.open()
        await eventually(lambda: s.samples().get(("requests_waiting", TASK)) == 1)
        writer.transport.abort()
        await eventually(lambda: s.samples().get(("requests_waiting", TASK)) == 0)
        hold.set()
        await first
        left = {key: value for key, value in counts(s).items() if TASK in key}
        assert sum(value for key, value in left.items() if key.startswith("requests_total")) == 1
        assert sum(value for key, value in left.items() if key.startswith("cancellations_total")) == 1


async def test_refusals_count_by_code_without_an_adapter(tmp_path: Path) -> None:
    async with counted(tmp_path, keys=KEYS, max_body_bytes=1000) as s:
        await s.chat()
        s.client.headers["authorization"] = f"Bearer {LIMITED}"
        await s.chat()
        s.client.headers["authorization"] = f"Bearer {KEY}"
        await s.chat(b"{")
        await s.chat(b"x" * 1001)
        await s.chat(model="nope")
        await s.chat(n=99)
        await s.client.post("/v1/chat/completions", files={"file": b"x"})
        none = "adapter= code={} origin=client task={}"
        assert {
            key.removeprefix("errors_total "): value for key, value in counts(s).items() if "errors" in key
        } == {
            none.format("invalid_api_key", ""): 1,
            none.format("permission_denied", ""): 1,
            none.format("invalid_request", ""): 1,
            none.format("payload_too_large", ""): 1,
            none.format("model_not_found", ""): 1,
            none.format("invalid_request", "naming"): 1,
            none.format("unsupported_media_type", ""): 1,
        }
        assert sum(value for key, value in counts(s).items() if key.startswith("requests_total")) == 7


async def test_no_text_of_a_client_becomes_a_label(tmp_path: Path) -> None:
    mark = "made-up"
    async with counted(tmp_path, keys=KEYS) as s:
        s.client.headers.update({"authorization": f"Bearer {KEY}", "x-request-id": mark, "user-agent": mark})
        paths = ("/v1/chat/completions", f"/{mark}", f"/v1/models/{mark}", f"/v1/chat/completions?{mark}")
        for path in paths:
            for model in (mark, f"naming@{mark}", f"naming/{mark}", "naming\n", "base"):
                await s.client.post(path, json={"model": model, mark: mark, "user": mark, "messages": []})
                await s.client.request(mark.upper(), path)
        s.engine.answers["base"] = Answer(status=400, body=b'{"error":{"code":"made-up","type":"made-up"}}')
        await s.chat(model="base")
        s.client.headers["authorization"] = f"Bearer {mark}"
        await s.chat()
        text = (await s.client.get("/metrics", headers={"authorization": f"Bearer {KEY}"})).text
        assert 'task="base"' in text
        assert mark not in text
        assert KEY not in text


def named(asked: Document) -> Answer:
    messages = cast("list[dict[str, str]]", asked["messages"])
    return Answer([json.dumps(messages[-1]["content"])])


def pipeline(s: Stack) -> None:
    document = json.dumps(
        {"concepts": [{"definition": "a", "members": []}, {"definition": "b", "members": []}]}
    )
    s.engine.answers["concept@aaaaaaaaaaaa"] = Answer([document])
    s.engine.answers[NAMING] = named


@pytest.mark.parametrize("stream", [True, False])
async def test_pipeline_counts_itself_once_and_its_calls_apart(tmp_path: Path, stream: bool) -> None:
    async with counted(tmp_path) as s:
        pipeline(s)
        assert '"error":{' not in (await s.chat(model="concept-naming", stream=stream)).text
        await s.at_rest()
        seen = counts(s)
        requests = {key: value for key, value in seen.items() if key.startswith("requests_total")}
        assert requests == {
            "requests_total adapter= origin=client status=200 task=concept-naming": 1,
            "requests_total adapter=concept@aaaaaaaaaaaa origin=pipeline status=200 task=concept": 1,
            f"requests_total adapter={NAMING} origin=pipeline status=200 task=naming": 2,
        }
        tokens = {key: value for key, value in seen.items() if "tokens_total" in key}
        assert sum(tokens.values()) == 3 * 7 + 3
        assert all("origin=pipeline" in key for key in tokens)


@pytest.mark.parametrize("stream", [True, False])
async def test_pipelines_failure_counts_once(tmp_path: Path, stream: bool) -> None:
    async with counted(tmp_path) as s:
        pipeline(s)
        s.engine.answers[NAMING] = Answer(status=500, body=b"{}")
        assert "engine_error" in (await s.chat(model="concept-naming", stream=stream)).text
        await s.at_rest()
        own = {key: value for key, value in counts(s).items() if "task=concept-naming" in key}
        assert own == {
            "requests_total adapter= origin=client status=500 task=concept-naming": 1,
            "errors_total adapter= code=engine_error origin=client task=concept-naming": 1,
            "request_seconds_count adapter= origin=client task=concept-naming": 1,
        }


async def test_client_that_leaves_a_pipeline_cancels_each_call(tmp_path: Path) -> None:
    async with counted(tmp_path) as s:
        pipeline(s)
        s.engine.answers[NAMING] = Answer(hold_head=asyncio.Event())
        _, writer = await s.open(model="concept-naming", stream=True)
        await s.engine.until(lambda: s.engine.active == 2)
        writer.transport.abort()
        await s.at_rest()
        cancelled = {key: value for key, value in counts(s).items() if key.startswith("cancellations_total")}
        assert cancelled == {
            "cancellations_total adapter= origin=client task=concept-naming": 1,
            f"cancellations_total adapter={NAMING} origin=pipeline task=naming": 2,
        }


async def test_other_routes_count_nothing(tmp_path: Path) -> None:
    async with counted(tmp_path) as s:
        for path in (
            "/health",
            "/ready",
            "/v1/models",
            "/v1/models/naming",
            "/v1/models/nope",
            "/metrics",
            "/no",
        ):
            await s.client.get(path)
        assert counts(s) == {}


async def test_pipeline_that_finds_no_room_counts_once_and_no_stage_of_it(tmp_path: Path) -> None:
    async with stack(tmp_path, max_in_flight=1, max_waiting=0) as s:
        s.engine.answers["base"] = Answer(hold_head=(hold := asyncio.Event()))
        first = asyncio.ensure_future(s.chat(model="base"))
        await s.engine.until(lambda: s.engine.active == 1)
        assert (await s.chat(model="concept-naming")).status_code == 503
        hold.set()
        await first
        refused = {key: value for key, value in s.samples().items() if "status=503" in key}
        origins = {label for key in refused for label in key if label.startswith("origin=")}
        assert origins == {"origin=client"}
        assert sum(value for key, value in refused.items() if "origin=client" in key) == 1
