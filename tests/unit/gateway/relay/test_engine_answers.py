"""What an engine answers that is no answer to the request: in the envelope, logged, and counted."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.fake_control import engine_of
from tests.fakes.fake_engine import Answer, FakeEngine
from tests.support.controlled import controlled
from tests.support.stack import TASKS, Stack, eventually, stack

pytestmark = pytest.mark.anyio
NAMING = TASKS["naming"]
SECRET = "/home/x/.cache/secret"
PAGE = b"<html><body>" + SECRET.encode() + b"</body></html>"
LOST = {
    "error": {
        "message": f"The model `{NAMING}` does not exist. Valid aliases: base.",
        "type": "NotFoundError",
        "param": "model",
        "code": 404,
    }
}
ENDS = {"error": {"message": "cannot schedule new futures after shutdown", "type": "x", "code": 500}}
both_ways = pytest.mark.parametrize("express", [True, False], ids=["express", "task"])
either = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


def page(status: int, *headers: bytes, body: bytes = PAGE, kind: bytes = b"text/html") -> Answer:
    head = b"HTTP/1.1 %d X\r\ncontent-type: %b\r\ncontent-length: %d\r\n" % (status, kind, len(body))
    return Answer(raw=head + b"".join(line + b"\r\n" for line in headers) + b"\r\n" + body)


async def warm(s: Stack) -> None:
    """Leave a connection that is kept, so that the next request can be served without a task."""
    assert (await s.chat(model="base")).status_code == 200
    await s.at_rest()


ANSWERS: list[tuple[str, Answer, int, str, str | None]] = [
    ("302", page(302, b"location: http://10.0.0.1/login"), 502, "engine_refused", None),
    ("204", Answer(raw=b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n"), 502, "engine_refused", None),
    ("401", page(401), 502, "engine_refused", None),
    ("403", Answer(status=403, body=b'{"error":"/secret"}'), 502, "engine_refused", None),
    ("404", page(404), 502, "engine_refused", None),
    ("404-detail", Answer(status=404, body=b'{"detail":"Not Found"}'), 502, "engine_refused", None),
    ("404-model", Answer(status=404, body=json.dumps(LOST).encode()), 503, "adapter_not_loaded", "5"),
    ("500-ends", Answer(status=500, body=json.dumps(ENDS).encode()), 503, "engine_not_running", "5"),
    ("408", Answer(status=408), 502, "engine_refused", None),
    ("429", page(429, b"retry-after: 7"), 503, "overloaded", "7"),
    ("429-date", page(429, b"retry-after: Wed, 21 Oct 2026 07:28:00 GMT"), 503, "overloaded", "1"),
    ("503", page(503, b"retry-after: 99999"), 503, "overloaded", "600"),
    ("200-html", page(200), 502, "engine_error", None),
    ("200-empty", page(200, body=b""), 502, "engine_error", None),
    ("200-torn", page(200, body=b'{"choices": [', kind=b"application/json"), 502, "engine_error", None),
]


@both_ways
@either
@pytest.mark.parametrize(
    ("answer", "status", "code", "retry_after"),
    [each[1:] for each in ANSWERS],
    ids=[each[0] for each in ANSWERS],
)
async def test_what_is_no_answer_is_an_error_of_the_gateways(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    answer: Answer,
    status: int,
    code: str,
    retry_after: str | None,
    stream: bool,
    express: bool,
) -> None:
    async with stack(tmp_path, express=express) as s:
        await warm(s)
        s.engine.answers[NAMING] = answer
        with caplog.at_level(logging.WARNING):
            told = await s.chat(stream=stream)
        assert (told.status_code, told.headers["content-type"]) == (status, "application/json")
        assert told.json()["error"]["code"] == code
        assert told.headers.get("retry-after") == retry_after
        assert not any(word in told.text + str(told.headers) for word in ("secret", "10.0.0.1", NAMING))
        assert told.headers["x-request-id"] in caplog.text
        labels = (f"adapter={NAMING}", f"code={code}", "origin=client", "task=naming")
        assert s.samples()["errors_total", *labels] == 1
        await s.at_rest()
        s.engine.answers.clear()
        assert (await s.chat(stream=stream)).status_code == 200


@both_ways
@pytest.mark.parametrize("status", [400, 413, 422])
async def test_a_refusal_that_is_a_page_keeps_its_status_and_gets_the_envelope(
    tmp_path: Path, status: int, express: bool
) -> None:
    async with stack(tmp_path, express=express) as s:
        await warm(s)
        s.engine.answers[NAMING] = page(status)
        told = await s.chat()
        assert (told.status_code, told.headers["content-type"]) == (status, "application/json")
        assert told.json()["error"]["message"] == "The engine refused the request."


@both_ways
@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b'{"answer": 1}', b'{"answer": 1}'),
        (b'  {"choices": []}\n', b'  {"choices": []}\n'),
        (b'{"usage": null, "choices": []}', b'{"usage": null, "choices": []}'),
    ],
)
async def test_json_without_usage_goes_through(
    tmp_path: Path, answer: bytes, said: bytes, express: bool
) -> None:
    async with stack(tmp_path, express=express) as s:
        await warm(s)
        s.engine.answers[NAMING] = Answer(body=answer)
        told = await s.chat()
        assert (told.status_code, told.content) == (200, said)


@both_ways
async def test_a_whole_answer_that_broke_off_has_no_end_among_the_last_requests(
    tmp_path: Path, express: bool
) -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n"
    async with stack(tmp_path, express=express) as s:
        await warm(s)
        s.engine.answers[NAMING] = Answer(raw=head)
        assert (await s.chat()).status_code == 502
        recent = s.gateway.metrics.recent
        recent.write_kept()
        last = recent.latest()[0]
        assert (last.status, last.engine_s, last.first_token_s) == (502, None, None)


@either
async def test_an_endless_page_is_not_collected(tmp_path: Path, stream: bool) -> None:
    async with stack(tmp_path) as s:
        await warm(s)
        s.engine.answers[NAMING] = page(302, body=b"x" * 10_000_000)
        assert (await s.chat(stream=stream)).status_code == 502
        await s.at_rest()
        assert s.engine.sent_bytes < 9_000_000


@both_ways
@pytest.mark.parametrize("status", [200, 400, 500, 503])
async def test_after_a_page_its_connection_is_not_used_again(
    tmp_path: Path, express: bool, status: int
) -> None:
    """Whoever says it may close it without a word, a second later, under somebody else's request."""
    async with stack(tmp_path, express=express) as s:
        await warm(s)
        s.engine.answers[NAMING] = Answer(status=status, body=b'{"error": {"message": "no"}}')
        assert (await s.chat()).status_code in (200, status)
        kept = s.engine.connections
        s.engine.answers[NAMING] = Answer(status=status, body=PAGE)
        assert (await s.chat()).status_code in (502, status)
        assert s.engine.connections == kept, "JSON leaves it as it is"
        s.engine.answers.clear()
        assert (await s.chat()).status_code == 200
        assert s.engine.connections == kept + 1


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/responses"])
async def test_other_apis_have_their_own_envelope(tmp_path: Path, path: str) -> None:
    asked: dict[str, Any] = {"model": "naming", "max_tokens": 9, "messages": []}
    asked["messages"] = [{"role": "user", "content": "cat"}]
    if path == "/v1/responses":
        asked = {"model": "naming", "input": "cat"}
    async with stack(tmp_path) as s:
        s.engine.answers[NAMING] = page(401)
        told = await s.client.post(path, json=asked)
        assert told.status_code == 502
        assert ("type" in told.json()) == (path == "/v1/messages")
        assert "secret" not in told.text


async def test_a_stages_call_is_told_apart_too(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        for answer, status in ((page(401), 502), (page(429), 503)):
            s.engine.answers[TASKS["concept"]] = answer
            told = await s.chat(model="concept-naming", messages=[{"role": "user", "content": "x"}])
            assert told.status_code == status
            assert "secret" not in told.text


@both_ways
@either
async def test_an_adapter_that_one_engine_lost_is_asked_of_the_other(
    tmp_path: Path, stream: bool, express: bool
) -> None:
    other = FakeEngine()
    url = await other.start()
    try:
        async with controlled(tmp_path, express=express) as c:
            s = c.stack
            await c.tell([c.status(), engine_of(url, "ready", *TASKS.values(), name="engine-1")])
            for engine in (s.engine, other):
                await asyncio.gather(*(s.chat(model="base") for _ in range(8)))
                engine.answers[NAMING] = Answer(status=404, body=json.dumps(LOST).encode())
                assert [(await s.chat(stream=stream)).status_code for _ in range(8)] == [200] * 8
                engine.answers.clear()
                for replica in c.replicas.ready:
                    replica.answered()
            await eventually(lambda: not s.gateway.admission.in_flight)
    finally:
        await other.stop()


@both_ways
@pytest.mark.parametrize("raw", [b"", b"garbage\r\n\r\n"], ids=["nothing", "garbage"])
async def test_a_fault_before_the_head_leaves_a_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, raw: bytes, express: bool
) -> None:
    async with stack(tmp_path, express=express) as s:
        s.engine.answers[NAMING] = Answer(raw=raw)  # on a connection of its own, so that it is no race
        with caplog.at_level(logging.WARNING):
            told = await s.chat()
        assert told.status_code == 502
        assert f"request {told.headers['x-request-id']}: engine-0: " in caplog.text


async def test_an_engine_that_is_not_there_leaves_a_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with stack(tmp_path) as s:
        await s.engine.stop()
        with caplog.at_level(logging.WARNING):
            told = await s.chat()
        assert told.status_code == 502
        assert told.headers["x-request-id"] in caplog.text
