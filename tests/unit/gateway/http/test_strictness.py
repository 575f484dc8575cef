"""What RFC 9112 asks of a server where the parser asks less, and what comes after such a request."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from starlette.types import Send

from gateway.errors import PayloadTooLarge
from gateway.http.strictness import ChunkSizes, decoded_path, split_target
from gateway.relay.in_task import TaskRelay
from tests.fakes.fake_engine import Answer
from tests.support.stack import stack
from tests.support.waiting import turns

pytestmark = pytest.mark.anyio
BODY = b'{"model":"base","messages":[]}'
CHAT = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n"
POST = CHAT + b"content-length: %d\r\n" % len(BODY)
CHUNKS = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
CLOSE = b"connection: close\r\n\r\n"
HEALTH = b"GET /health HTTP/1.1\r\nhost: x\r\n"
H2C = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMA\r\n"


def statuses(answers: bytes) -> list[int]:
    """Of every answer in what came back; no body here holds the mark."""
    return [int(part[:3]) for part in answers.split(b"HTTP/1.1 ")[1:]]


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /health HTTP/1.1\r\n\r\n", 400),
        (b"GET http://x/health HTTP/1.1\r\n\r\n", 400),
        (HEALTH + b"host: x\r\n\r\n", 400),
        (b"GET /health HTTP/1.0\r\nhost: x\r\nhost: y\r\n\r\n", 400),
        (CHAT + b"transfer-encoding: gzip, chunked\r\n\r\n" + CHUNKS, 501),
        (CHAT + b"transfer-encoding: identity, chunked\r\n\r\n" + CHUNKS, 501),
        (CHAT + b"transfer-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n" + CHUNKS, 501),
        (CHAT + b"transfer-encoding: chunked, chunked\r\n\r\n" + CHUNKS, 400),
        (CHAT + b"transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n" + CHUNKS, 400),
        (CHAT + b"transfer-encoding: chunked, gzip\r\n\r\n" + CHUNKS, 400),
        (CHAT.replace(b"1.1", b"1.0") + b"transfer-encoding: chunked\r\n\r\n" + CHUNKS, 400),
        (CHAT.replace(b"host: x\r\n", b"") + b"transfer-encoding: chunked\r\n\r\n0\r\nhost: x\r\n\r\n", 400),
        (CHAT + H2C + b"transfer-encoding: chunked\r\n\r\nffffffff\r\n", 413),
        (b"GET /health RTSP/1.0\r\nhost: x\r\n\r\n", 400),
        (b"GET /health RTSP/1.1\r\nhost: x\r\n\r\n", 400),
        (b"POST /v1/chat/completions RTSP/1.0\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}", 400),
        (b"OPTIONS * RTSP/1.0\r\nhost: x\r\n\r\n", 400),
        (b"GET /health HTTP/2.0\r\nhost: x\r\n\r\n", 505),
        (b"GET /health HTTP/0.9\r\nhost: x\r\n\r\n", 505),
        (b"GET /health\r\n\r\n", 400),
        (b"GET  /health HTTP/1.1\r\nhost: x\r\n\r\n", 400),
        (CHAT + b"transfer-encoding: chunked\r\n\r\nffffffffffffffff\r\n", 413),
        (CHAT + b"transfer-encoding: chunked\r\n\r\n5\r\n{   }\r\nA00001;x=y\r\n", 413),
        (HEALTH + b"a: " + b"b" * 70_000 + b"\r\n\r\n", 431),
        (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n", 431),
    ],
)
@pytest.mark.parametrize("at_once", [True, False])
async def test_head_that_a_server_may_not_go_by(
    tmp_path: Path, request_: bytes, status: int, at_once: bool
) -> None:
    pieces = [request_] if at_once else [request_[:23], request_[23:50], request_[50:]]
    async with stack(tmp_path) as s, asyncio.timeout(5):
        reader, writer = await asyncio.open_connection("127.0.0.1", s.port)
        for piece in pieces:
            writer.write(piece)
            await turns()  # until it has been read by itself
        answer = await reader.read()
        writer.close()
        assert statuses(answer) == [status]
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["message"]
        assert not s.engine.completions


@pytest.mark.parametrize(
    "request_",
    [
        CHAT + b"transfer-encoding: Chunked\r\n" + CLOSE + CHUNKS,
        CHAT + b"Transfer-Encoding:  chunked \r\n" + CLOSE + b"A;x=y\r\n" + BODY[:10] + b"\r\n" + CHUNKS[4:],
        b"POST http://x/v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n" % len(BODY)
        + CLOSE
        + BODY,
        b"\r\n" + POST + b"a: RTSP/1.0\r\n" + CLOSE + BODY,
        b"POST /v1/chat/completions HTTP/1.0\r\ncontent-length: %d\r\n\r\n" % len(BODY) + BODY,
        POST + b"a: " + b"b" * 60_000 + b"\r\n" + CLOSE + BODY,
    ],
)
async def test_sound_head_is_gone_by(tmp_path: Path, request_: bytes) -> None:
    if b"A;x=y" in request_:
        request_ = request_[: request_.index(b"A;x=y")] + b"A;x=y\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n" % (
            BODY[:10],
            len(BODY) - 10,
            BODY[10:],
        )
    async with stack(tmp_path) as s:
        assert statuses(await s.raw(request_)) == [200]
        assert [sent.json["model"] for sent in s.engine.completions] == ["base"]


@pytest.mark.parametrize("cut", [0, 1, 5, 12])
async def test_size_of_a_chunk_is_refused_before_the_chunk(tmp_path: Path, cut: int) -> None:
    """However it is cut up, and though the chunks before it were well."""
    async with stack(tmp_path, max_body_bytes=1000) as s, asyncio.timeout(5):
        reader, writer = await asyncio.open_connection("127.0.0.1", s.port)
        body = b'a;b=c\r\n{"model":"\r\n3e9\r\n'
        head = CHAT + b"transfer-encoding: chunked\r\n\r\n"
        writer.write(head + body[:cut])
        await turns()
        for start in range(cut, len(body)):
            writer.write(body[start : start + 1])
            await asyncio.sleep(0)
        assert statuses(await reader.read()) == [413]
        writer.close()


@pytest.mark.parametrize("target", [b"/v1/files", b"/v1/files?x=1", b"/v1/%66iles"])
async def test_an_uploads_chunk_has_an_uploads_bound(tmp_path: Path, target: bytes) -> None:
    line = json.dumps({"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": {}})
    part = b'--b\r\ncontent-disposition: form-data; name="%b"%b\r\n\r\n%b\r\n'
    form = part % (b"purpose", b"", b"batch")
    form += part % (b"file", b'; filename="a.jsonl"', line.encode() + b" " * 1000) + b"--b--\r\n"
    head = b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-type: multipart/form-data; boundary=b\r\n" % target
    async with stack(tmp_path, max_body_bytes=1000) as s:
        chunks = b"%x\r\n%b\r\n0\r\n\r\n" % (len(form), form)
        answer = await s.raw(head + b"transfer-encoding: chunked\r\n" + CLOSE + chunks)
        assert statuses(answer) == [200], answer


def test_chunks_within_the_bound_pass_in_any_split() -> None:
    whole = b"3e8\r\n" + b"x" * 1000 + b"\r\n0A\r\n0123456789\r\n0\r\n\r\nffff\r\n"
    for step in (1, 2, 7, 1003, len(whole)):
        sizes = ChunkSizes(1000)
        for start in range(0, len(whole), step):
            sizes.feed(whole[start : start + step])
    sizes = ChunkSizes(999)
    with pytest.raises(PayloadTooLarge):
        sizes.feed(whole)


@pytest.mark.parametrize(
    ("path", "decoded"),
    [
        ("/v1%2fmodels", "/v1%2Fmodels"),
        ("/v1%2Fmodels%20x", "/v1%2Fmodels x"),
        ("/v1%252Fmodels", "/v1%2Fmodels"),
        ("/v1/%6dodels", "/v1/models"),
    ],
)
def test_encoded_slash_stays_encoded(path: str, decoded: str) -> None:
    assert decoded_path(path) == decoded


@pytest.mark.parametrize(
    "line",
    [
        b"GET /v1%2fmodels",
        b"GET /v1%2Fmodels",
        b"GET /v1/models%2fnaming",
        b"GET %2fhealth",
        b"POST /v1/chat%2fcompletions",
        b"POST /v1%2Fchat/completions",
    ],
)
async def test_encoded_slash_matches_no_route(tmp_path: Path, line: bytes) -> None:
    async with stack(tmp_path) as s:
        head = line + b" HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n" % len(BODY)
        assert statuses(await s.raw(head + CLOSE + BODY)) in ([404], [400])
        assert not s.engine.completions


@pytest.mark.parametrize(
    "junk", [b"junk\r\n\r\n", b"\0", b"GET /health HTTP/1.1\r\n\r\n", CHAT + b"content-length: x\r\n\r\n"]
)
@pytest.mark.parametrize("good", [1, 3])
@pytest.mark.parametrize("express", [True, False])
async def test_what_came_before_junk_is_answered_first(
    tmp_path: Path, junk: bytes, good: int, express: bool
) -> None:
    async with stack(tmp_path, express=express) as s:
        answers = await s.raw((POST + b"\r\n" + BODY) * good + junk)
        assert statuses(answers) == [200] * good + [400]
        assert len(s.engine.completions) == good
        await s.at_rest()


async def test_request_whose_body_is_junk_is_not_run_in_its_turn(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        broken = CHAT + b"transfer-encoding: chunked\r\n\r\n2\r\n{}XX"
        assert statuses(await s.raw(POST + b"\r\n" + BODY + broken)) == [200, 400]
        assert len(s.engine.completions) == 1
        await s.at_rest()


async def test_client_gone_before_the_answer_that_a_refusal_waits_for_aborts(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        s.engine.answers["base"] = Answer(hold_head=asyncio.Event())
        _, writer = await asyncio.open_connection("127.0.0.1", s.port)
        writer.write(POST + b"\r\n" + BODY + b"junk\r\n\r\n")
        await s.engine.until(lambda: s.engine.active == 1)
        writer.transport.abort()
        await s.engine.until(lambda: s.engine.aborts == 1)
        await s.at_rest()


async def test_offer_of_h2c_is_answered_though_a_second_request_follows(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        for second in (HEALTH + b"\r\n", POST + b"\r\n" + BODY, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"):
            answer = await s.raw(POST + H2C + b"\r\n" + BODY + second)
            assert statuses(answer) == [200]
            assert b"connection: close" in answer


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
async def test_fault_of_ours_in_a_stream_is_no_proper_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: bytes
) -> None:
    """With chunks the last one is missing; without them, where a close is the end, there is a reset."""
    hold = asyncio.Event()

    async def failing(self: TaskRelay, route: object, body: object, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"data: Par\n\n", "more_body": True})
        await hold.wait()
        raise AssertionError("a fault of ours")

    monkeypatch.setattr(TaskRelay, "run", failing)
    async with stack(tmp_path, express=False) as s, asyncio.timeout(5):
        body = b'{"model":"base","messages":[],"stream":true}'
        reader, writer = await asyncio.open_connection("127.0.0.1", s.port)
        head = b"POST /v1/chat/completions HTTP/%b\r\nhost: x\r\ncontent-length: %d\r\n\r\n"
        writer.write(head % (version, len(body)) + body)
        await reader.readuntil(b"Par\n\n")
        hold.set()
        if version == b"1.1":
            assert await reader.read() == b"\r\n"  # of the chunk that had come; none ends the answer
        else:
            with pytest.raises(ConnectionResetError):
                await reader.read()
        writer.close()
        await s.at_rest()


@pytest.mark.parametrize(
    ("target", "raw_path", "query", "path"),
    [
        (b"/v1/models", b"/v1/models", b"", "/v1/models"),
        (b"/v1/models?a=1&b", b"/v1/models", b"a=1&b", "/v1/models"),
        (b"/v1/models/a%20b%2Fc#d", b"/v1/models/a%20b%2Fc", b"", "/v1/models/a b%2Fc"),
        (b"http://x/health?a", b"/health", b"a", "/health"),
        (b"http://x", b"/", b"", "/"),
    ],
)
def test_a_target_is_its_path_and_its_query(target: bytes, raw_path: bytes, query: bytes, path: str) -> None:
    assert split_target(target) == (raw_path, query, path)
