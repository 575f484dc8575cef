"""Faults of the gateway's own, and answers that try for one: clients are answered, places are free again."""

from __future__ import annotations

import ast
import asyncio
import json
import logging
from pathlib import Path
from typing import Any

import pytest

from gateway.http.event_stream import EventStream
from gateway.http.request_cycle import Cycle
from gateway.metrics.counters import Series
from gateway.relay.request_record import Exchange
from tests.fakes.fake_engine import Answer
from tests.support.stack import stack
from tests.unit.gateway.relay.test_engine_answers import warm

pytestmark = pytest.mark.anyio
NAMING = "naming@bbbbbbbbbbbb"
DEEP = b"[" * 5000 + b"]" * 5000
ROOT = Path(__file__).parents[4]
both_ways = pytest.mark.parametrize("express", [True, False], ids=["express", "task"])


def streamed(*events: bytes) -> Answer:
    body = b"".join(b"data: " + event + b"\n\n" for event in events)
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: %d\r\n\r\n"
    return Answer(raw=head % len(body) + body)


@both_ways
async def test_an_answer_nested_deeply_goes_through(tmp_path: Path, express: bool) -> None:
    whole = b'{"id":"1","extra":' + DEEP + b',"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":2}}'
    async with stack(tmp_path, express=express) as s:
        await warm(s)
        s.engine.answers[NAMING] = Answer(body=whole)
        answer = await s.chat()
        assert (answer.status_code, answer.content) == (200, whole)
        await s.at_rest()
        s.engine.answers[NAMING] = streamed(whole, b"[DONE]")
        answer = await s.chat(stream=True)
        assert answer.status_code == 200
        assert answer.text.endswith("data: [DONE]\n\n")
        await s.at_rest()


@both_ways
@pytest.mark.parametrize("path", ["/v1/messages", "/v1/responses", "/v1/completions"])
async def test_other_apis_answers_nested_deeply_go_through(tmp_path: Path, express: bool, path: str) -> None:
    event = b'{"type":"message_start","message":{"usage":' + DEEP + b'},"response":{"usage":' + DEEP + b"}}"
    asked: dict[str, Any] = {"model": "naming", "max_tokens": 9}
    asked |= {"messages": [{"role": "user", "content": "cat"}]} if path == "/v1/messages" else {}
    asked |= {"input": "cat"} if path == "/v1/responses" else {}
    asked |= {"prompt": "cat"} if path == "/v1/completions" else {}
    asked |= {"max_output_tokens": asked.pop("max_tokens")} if path == "/v1/responses" else {}
    async with stack(tmp_path, express=express) as s:
        await warm(s)
        for stream, answer in ((False, Answer(body=event)), (True, streamed(event))):
            s.engine.answers[NAMING] = answer
            found = await s.client.post(path, json={**asked, "stream": stream})
            assert found.status_code == 200, found.text
            await s.at_rest()


@both_ways
async def test_a_refusal_nested_deeply_is_a_refusal(tmp_path: Path, express: bool) -> None:
    async with stack(tmp_path, express=express) as s:
        await warm(s)
        s.engine.answers[NAMING] = Answer(status=400, body=b'{"error":' + DEEP + b"}")
        assert (await s.chat()).status_code == 400
        await s.at_rest()


def raises(*_: object, **__: object) -> Any:
    raise RecursionError("planted")


FAULTS: list[tuple[type, str, bool, int]] = [
    (EventStream, "feed", True, 200),
    (EventStream, "rest", True, 200),
    (Exchange, "header_block", False, 500),
    (Exchange, "header_block", True, 500),
]


@both_ways
@pytest.mark.parametrize(("owner", "method", "stream", "status"), FAULTS)
async def test_a_fault_is_answered_logged_and_gives_the_place_back(
    tmp_path: Path,
    express: bool,
    owner: type,
    method: str,
    stream: bool,
    status: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with stack(tmp_path, express=express) as s:
        await warm(s)
        with monkeypatch.context() as planted, caplog.at_level(logging.ERROR):
            planted.setattr(owner, method, raises)
            answer = await s.chat(stream=stream)
        assert answer.status_code == status
        text = next(one for one in answer.text.split("data: ") if '"error"' in one)
        assert json.loads(text)["error"]["code"] == "internal_error"
        assert "planted" in caplog.text
        await s.at_rest()
        labels = (f"adapter={NAMING}", "code=internal_error", "origin=client", "task=naming")
        assert s.samples()["errors_total", *labels] == 1
        assert (await s.chat(stream=stream)).status_code == 200


LATE: list[tuple[type, str]] = [(Cycle, "answer"), (Series, "finished")]


@pytest.mark.parametrize(("owner", "method"), LATE)
async def test_a_fault_at_an_answers_very_end_closes_the_connection(
    tmp_path: Path, owner: type, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing can be said any more; the client must not wait for the rest."""
    async with stack(tmp_path) as s:
        await warm(s)
        with monkeypatch.context() as planted:
            planted.setattr(owner, method, raises)
            reader, writer = await s.open()
            assert await reader.read() == b""
            writer.close()
        await s.at_rest()
        assert (await s.chat()).status_code == 200


async def test_a_fault_when_the_client_leaves_frees_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Answer(hold_token={1: asyncio.Event()})
    async with stack(tmp_path) as s:
        await warm(s)
        s.engine.answers[NAMING] = held
        with monkeypatch.context() as planted:
            planted.setattr(Exchange, "cancelled", raises)
            _, writer = await s.open(stream=True)
            await s.engine.until(lambda: s.engine.active == 1)
            writer.transport.abort()
            await s.at_rest()


def handled(folder: str, *words: str) -> set[str]:
    """What the handlers of all files catch; a file without one of these words is not parsed."""
    sources = [file.read_text(encoding="utf-8") for file in (ROOT / folder).rglob("*.py")]
    trees = [ast.parse(source) for source in sources if any(word in source for word in words)]
    nodes = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ExceptHandler)]
    return {ast.unparse(node.type) for node in nodes if node.type is not None}


@pytest.mark.parametrize("folder", ["gateway", "launch"])
def test_what_decoding_raises_has_one_name(folder: str) -> None:
    """`NOT_JSON`, so that no place forgets one: RecursionError was forgotten in 26 of 33."""
    words = ("MsgspecError", "DecodeError")
    own = {caught for caught in handled(folder, *words) if any(word in caught for word in words)}
    assert own <= {"UnicodeDecodeError", "(OSError, UnicodeDecodeError)"}  # text that is read, not JSON
