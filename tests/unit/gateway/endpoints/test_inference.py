"""Requests: what is refused, what is added, what goes on untouched."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.dialects.chat.dialect import CHAT as CHAT_API
from gateway.dialects.request_body import decode_body
from gateway.endpoints.asgi import MAPPED_FROM_BYTES
from tests.fakes.fake_engine import Answer, recorded
from tests.support.nesting import UNBOUNDED
from tests.support.stack import eventually, key_of, stack, write_report
from tests.support.waiting import turns

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("both_ways")]
CHAT = b'"messages": [{"role": "user", "content": "x"}]'
DEEP = b'{"model": "naming", "x": ' + b"[" * 200_000 + b"]" * 200_000 + b", " + CHAT + b"}"


async def test_models_lists_base_tasks_and_pipelines(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        listed = {m["id"]: m for m in (await s.client.get("/v1/models")).json()["data"]}
        assert list(listed) == ["base", "concept", "naming", "concept-naming"]
        assert listed["naming"]["root"] == "naming@bbbbbbbbbbbb"
        assert listed["naming"]["parent"] == "base"
        assert (await s.client.get("/v1/models/naming")).json() == listed["naming"]
        assert (await s.client.get("/v1/models/nope")).status_code == 404


async def test_unknown_model_names_the_valid_ones_and_the_nearest(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        answer = await s.chat(model="namin")
        error = answer.json()["error"]
        assert answer.status_code == 404
        assert error["code"] == "model_not_found"
        assert "'naming'" in error["message"]
        assert "concept-naming" in error["message"]
        assert not s.engine.completions


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[]", 400),
        (b'"naming"', 400),
        (b"{}", 400),
        (b'{"model": 3}', 400),
        (b'{"model": null}', 400),
        (b'{"model": "\xff"}', 400),
        (b'{"model": "\\ud800"}', 400),
        (b'{"model": "naming", "temperature": NaN, ' + CHAT + b"}", 400),
        (b'{"model": "naming", "messages": "x"}', 400),
        (b'{"model": "naming", "messages": [1]}', 400),
        (b'{"model": "naming", "stream": "yes", ' + CHAT + b"}", 400),
        (b'{"model": "naming", "n": 1000000, ' + CHAT + b"}", 400),
        (b'{"model": "naming", "prompt_logprobs": -1, ' + CHAT + b"}", 400),
        (b'{"model": "naming", "api_base": "http://x", ' + CHAT + b"}", 400),
        (b'{"model": "naming", "chat_template": "x", ' + CHAT + b"}", 400),
        pytest.param(DEEP, 400, marks=UNBOUNDED),
        (b'{"model": "naming\\r\\nx-evil: 1", ' + CHAT + b"}", 404),
    ],
)
async def test_bad_body_is_refused_before_the_engine(tmp_path: Path, body: bytes, status: int) -> None:
    async with stack(tmp_path) as s:
        answer = await s.chat(body)
        assert answer.status_code == status
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
        assert "x-evil" not in answer.headers
        assert not s.engine.completions


async def test_too_large_body_is_413_with_and_without_a_length(tmp_path: Path) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b"x" * 100

    async with stack(tmp_path, max_body_bytes=1000) as s:
        assert (await s.chat(b"x" * 1001)).status_code == 413
        assert (await s.client.post("/v1/chat/completions", content=pieces())).status_code == 413


async def test_other_content_type_is_415(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        answer = await s.client.post("/v1/chat/completions", files={"file": b"x"})
        assert answer.status_code == 415


async def test_others_have_their_turn_between_the_steps_of_a_long_body(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    turn, steps = 0, list[tuple[str, int]]()

    async def count() -> None:
        nonlocal turn
        while True:
            turn += 1
            await asyncio.sleep(0)

    def noted(name: str, step: Callable[..., Any]) -> Callable[..., Any]:
        def noting(*given: object) -> object:
            steps.append((name, turn))
            return step(*given)

        return noting

    monkeypatch.setattr("gateway.endpoints.inference.decode_body", noted("decode", decode_body))
    monkeypatch.setitem(CHAT_API.rules, "messages", noted("check", CHAT_API.rules["messages"]))
    monkeypatch.setattr(CHAT_API, "encode_body", noted("write", CHAT_API.encode_body))
    counting = asyncio.create_task(count())
    async with stack(tmp_path) as s:
        assert (await s.chat(messages=[{"role": "user", "content": "x" * MAPPED_FROM_BYTES}])).is_success
    counting.cancel()
    assert [name for name, _ in steps] == ["decode", "check", "write"]
    assert len({at for _, at in steps}) == 3


FAULTS = {
    "type": (b"content-type: text/plain\r\n", b"", b" 415 "),
    "patience": (b"x-request-timeout-ms: soon\r\n", b"", b"x-request-timeout-ms"),
    "key": (b"authorization: Bearer nothing\r\n", b"", b"may call no model"),
    "size": (b"", b" " * 600, b" 413 "),
    "body": (b"", b"{", b"is not valid JSON"),
}
"""Lines of the head, what the body ends with, and what the answer says of it; those above are named first."""


@pytest.mark.parametrize("both", [*itertools.combinations(FAULTS, 2)], ids="-".join)
async def test_of_two_faults_the_same_is_named_however_the_bytes_come(
    tmp_path: Path, both: tuple[str, str]
) -> None:
    keys = {"may": key_of("all"), "nothing": key_of("nothing", tasks=[])}
    async with stack(tmp_path, keys=keys, max_body_bytes=500) as s:
        lines, ends = zip(*((FAULTS[one][0], FAULTS[one][1]) for one in both), strict=True)
        head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\n" + b"".join(lines)
        if "key" not in both:
            head += b"authorization: Bearer all\r\n"
        body = b'{"model": "naming", ' + CHAT + b"}" + b"".join(ends)
        length = b"content-length: %d\r\n\r\n" % len(body)
        chunked = b"transfer-encoding: chunked\r\n\r\n", b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        for pieces in ((head + length + body,), (head + length, body), (head + chunked[0], chunked[1])):
            reader, writer = await asyncio.open_connection("127.0.0.1", s.port)
            for piece in pieces:
                writer.write(piece)
                await turns(20)
            async with asyncio.timeout(5):
                answer = await reader.readuntil(b"}}")
            writer.transport.abort()
            assert FAULTS[both[0]][2] in answer, pieces


async def test_contract_fills_only_what_the_client_left_out(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        assert (await s.chat()).status_code == 200
        sent = s.engine.completions[0].json
        assert sent["model"] == "naming@bbbbbbbbbbbb"
        assert sent["messages"] == [
            {"role": "system", "content": "Name the concept."},
            {"role": "user", "content": "cat"},
        ]
        assert (sent["temperature"], sent["max_tokens"]) == (0, 24)
        assert isinstance(sent["response_format"], dict)
        own = [{"role": "system", "content": "mine"}, {"role": "user", "content": "x"}]
        given = {"temperature": 0.5, "max_completion_tokens": 3, "response_format": {"type": "text"}}
        await s.chat(messages=own, **given)
        sent = s.engine.completions[1].json
        assert sent == {"model": "naming@bbbbbbbbbbbb", "messages": own, **given}


async def test_everything_but_the_model_goes_on_byte_for_byte(tmp_path: Path) -> None:
    odd = (
        b'{"model":"base","messages":[ {"role":"user" ,"content":"\\u00e9\xc3\xa9"} ],"documents":[1.10 ,{}]}'
    )
    async with stack(tmp_path) as s:
        assert (await s.chat(odd)).status_code == 200
        assert s.engine.completions[0].body == odd
        await s.chat(b'{"model":"naming","model":"base","n":1,"n":2,' + CHAT + b"}")
        assert s.engine.completions[1].body.count(b'"n"') == 1  # one reading, ours and the engine's


async def test_answer_names_its_task_adapter_and_request_id(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        answer = await s.chat()
        assert answer.json()["choices"][0]["message"]["content"] == "Paris"
        assert answer.headers["x-gateway-task"] == "naming"
        assert answer.headers["x-gateway-adapter"] == "naming@bbbbbbbbbbbb"
        assert answer.headers["x-request-id"] == s.engine.completions[0].headers["x-request-id"]
        head = {"x-request-id": "mine-1"}
        assert (await s.client.get("/v1/models", headers=head)).headers["x-request-id"] == "mine-1"
        head = {"x-request-id": "not well formed <>"}
        answer = await s.client.get("/v1/models", headers=head)
        assert answer.headers["x-request-id"] != head["x-request-id"]


CLOSED = ["/invocations", "/pause", "/collective_rpc", "/v1/load_lora_adapter", "/metrics/", "/docs", "/"]


@pytest.mark.parametrize("path", CLOSED)
async def test_routes_outside_the_list_are_404(tmp_path: Path, path: str) -> None:
    async with stack(tmp_path) as s:
        answer = await s.client.post(path, json={"model": "base"})
        assert answer.status_code == 404
        assert "error" in answer.json()
        assert not s.engine.completions


async def test_wrong_method_is_405(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        answer = await s.client.get("/v1/chat/completions")
        assert answer.status_code == 405
        assert answer.headers["allow"] == "POST"
        assert (await s.client.post("/v1/models")).status_code == 405


async def test_host_header_does_not_choose_the_route(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        answer = await s.client.post("/pause", headers={"host": "localhost/v1/models?"}, json={})
        assert answer.status_code in (400, 404)


async def test_engine_error_keeps_its_status_and_words_in_openais_envelope(tmp_path: Path) -> None:
    real: Any = recorded("error_too_long")["body"]
    async with stack(tmp_path) as s:
        s.engine.answers["base"] = Answer(status=400, body=json.dumps(real).encode())
        answer = await s.chat(model="base")
        assert answer.status_code == 400
        assert answer.json()["error"] == {
            "message": real["error"]["message"].partition(" (parameter=")[0],
            "type": "invalid_request_error",
            "param": "messages",
            "code": "context_length_exceeded",
        }


async def test_engine_fault_hides_the_engines_text(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        s.engine.answers["base"] = Answer(status=500, body=b'{"error": "/secret/path 0x7f"}')
        answer = await s.chat(model="base")
        assert answer.status_code == 500
        assert "secret" not in answer.text
        assert answer.json()["error"]["code"] == "engine_error"


@pytest.mark.parametrize("raw", [b"", b"garbage\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + b"a: " + b"b" * 200_000])
async def test_broken_answer_is_502(tmp_path: Path, raw: bytes) -> None:
    async with stack(tmp_path) as s:
        s.engine.answers["base"] = Answer(raw=raw)
        answer = await s.chat(model="base")
        assert answer.status_code == 502
        assert answer.json()["error"]["code"] == "engine_error"
        await s.at_rest()


async def test_dead_engine_is_502_and_not_ready(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        assert (await s.client.get("/ready")).status_code == 200
        await s.engine.stop()
        assert (await s.chat()).status_code == 502
        assert (await s.client.get("/health")).status_code == 200
        await s.at_rest()


async def test_starting_engine_is_503_with_retry_after_then_serves(tmp_path: Path) -> None:
    async with stack(tmp_path, ready=False) as s:
        config = s.gateway.replicas.config
        write_report(config, state="starting", stage="loading weights", started_at=1.0)
        await eventually(lambda: s.gateway.replicas.availability.stage()[0] == "loading weights")
        answer = await s.chat()
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "engine_starting")
        assert int(answer.headers["retry-after"]) > 0
        assert (await s.client.get("/ready")).status_code == 503
        write_report(config, url=s.engine.url, state="ready", started_at=2.0)
        await eventually(lambda: bool(s.gateway.replicas.ready))
        assert (await s.chat()).status_code == 200


async def test_full_queue_is_503_overloaded(tmp_path: Path) -> None:
    async with stack(tmp_path, max_in_flight=1, max_waiting=0) as s:
        hold = asyncio.Event()
        s.engine.answers["base"] = Answer(hold_head=hold)
        first = asyncio.ensure_future(s.chat(model="base"))
        await s.engine.until(lambda: s.engine.active == 1)
        refused = await s.chat()
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "overloaded")
        hold.set()
        assert (await first).status_code == 200
        await s.at_rest()
