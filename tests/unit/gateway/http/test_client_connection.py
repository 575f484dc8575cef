"""The client's side: what is not HTTP, what never ends, and what real clients do that is rare."""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import pytest

from gateway.http.client_connection import GatewayProtocol
from gateway.http.request_cycle import MAX_PIPELINED, MAX_PIPELINED_BYTES, Cycle
from gateway.http.strictness import MAX_HEAD_BYTES
from tests.fakes.fake_engine import Answer
from tests.support.cost.request_cost import Driven, driven
from tests.support.stack import Stack, eventually, stack

pytestmark = pytest.mark.anyio
CHAT = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n"
CHUNKED = CHAT + b"transfer-encoding: chunked\r\n\r\n"
HEALTH = b"GET /health HTTP/1.1\r\nhost: x\r\n"
CLOSE = b"connection: close\r\n\r\n"
BODY = b'{"model":"base","messages":[]}'
POST = CHAT + b"content-length: %d\r\n" % len(BODY)
H2C = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMA\r\n"


def statuses(answers: bytes) -> list[int]:
    """Of every answer in what came back; no body here holds the mark."""
    return [int(part[:3]) for part in answers.split(b"HTTP/1.1 ")[1:]]


def protocols(s: Stack) -> list[GatewayProtocol]:
    return [each for each in s.server.connections if isinstance(each, GatewayProtocol)]


@pytest.mark.parametrize(
    "pieces",
    [
        [CHAT + b"content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"],
        [CHAT + b"transfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n0\r\n\r\n"],
        [CHAT + b"content-length: 4\r\ncontent-length: 5\r\n\r\nabcde"],
        [CHAT + b"content-length: +4\r\n\r\nabcd"],
        [CHAT + b"content-length: 99999999999999999999999\r\n\r\n"],
        [CHAT + b"transfer-encoding: xchunked\r\n\r\n0\r\n\r\n"],
        [CHUNKED + b"2\r\n{}XX0\r\n\r\n"],
        [CHUNKED, b"2\r\n{}XX0\r\n\r\n"],
        [CHUNKED + b"zz\r\n{}"],
        [b"BREW /health HTTP/1.1\r\n\r\n"],
        [b"CONNECT x:443 HTTP/1.1\r\nhost: x\r\n\r\n"],
        [b"GET /a\0b HTTP/1.1\r\n\r\n"],
        [b"GET /\xff HTTP/1.1\r\n\r\n"],
        [b"GET ? HTTP/1.1\r\n\r\n"],
        [b"GET /health HTTP/1.1\r\nhost: x\nfolded: y\r\n\r\n"],
        [b"GET /health HTTP/1.1\r\nhost : x\r\n\r\n"],
        [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"],
        [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"],
    ],
)
async def test_what_is_not_http_is_400_once_and_closed(tmp_path: Path, pieces: Sequence[bytes]) -> None:
    async with stack(tmp_path) as s:
        answer = await s.raw(*pieces)
        assert statuses(answer) == [400]
        error = json.loads(answer.partition(b"\r\n\r\n")[2])["error"]
        assert error["code"] == "invalid_request"
        assert not s.engine.completions
        await eventually(lambda: not s.server.connections)


@pytest.mark.parametrize(
    "pieces",
    [
        [HEALTH + b"a: " + b"b" * (1 << 20) + b"\r\n\r\n"],
        [b"GET /" + b"a" * (1 << 20) + b" HTTP/1.1\r\n\r\n"],
        [HEALTH + b"".join(b"a%d: b\r\n" % i for i in range(200)) + b"\r\n"],
        [CHUNKED + b"2\r\n{}\r\n0\r\n", *[b"a: " + b"b" * 1000 + b"\r\n"] * 400],
        [CHUNKED + b"2;", *[b"b" * 1000] * 400],  # the read that it begins in is not counted
    ],
    ids=["header", "target", "headers", "trailers", "extension"],
)
async def test_what_does_not_end_is_431_and_closed(tmp_path: Path, pieces: Sequence[bytes]) -> None:
    """The answer arrives although the client goes on sending: a reset would take it away."""
    async with stack(tmp_path) as s:
        answer = await s.raw(*pieces)
        assert statuses(answer) == [431]
        assert b'"head_too_large"' in answer
        assert not s.engine.completions
        await eventually(lambda: not s.server.connections)


@pytest.mark.parametrize(
    "start",
    [b"P", CHAT, CHAT + b"content-length: 5\r\n\r\n{", CHUNKED + b"1\r\n{\r\n"],
    ids=["line", "head", "body", "chunks"],
)
async def test_slow_head_and_slow_body_are_408(tmp_path: Path, start: bytes) -> None:
    async with stack(tmp_path, receive_timeout_s=0.1) as s:
        assert statuses(await s.raw(start)) == [408]
        await eventually(lambda: not s.server.connections)


async def test_a_file_wakes_its_reader_for_much_of_it_or_its_end(tmp_path: Path) -> None:
    """Not for each piece that a network cut it into."""
    head = b"POST /v1/files HTTP/1.1\r\nhost: x\r\ncontent-type: multipart/form-data; boundary=b\r\n"
    async with stack(tmp_path) as s:
        reader, writer = await asyncio.open_connection("127.0.0.1", s.port)
        writer.write(head + b"content-length: 40\r\n\r\n")
        await eventually(lambda: any(each.cycle and each.cycle._arrived for each in protocols(s)))
        (cycle,) = [each.cycle for each in protocols(s)]
        assert cycle is not None
        for size in (10, 20, 30):
            writer.write(b"-" * 10)
            await eventually(lambda size=size: len(cycle.body) == size)  # type: ignore[misc]
        writer.write(b"-" * 10)
        assert (await reader.readline()).split()[1] == b"400"
        writer.close()


def unended(one: Driven) -> bytes:
    """A head that is not known, without its body."""
    return one._chat.replace(b"host: x", b"host: y").partition(b"\r\n\r\n")[0] + b"\r\n\r\n"


async def test_a_client_that_was_refused_in_its_body_has_its_end_though_it_stops_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with driven(tmp_path) as one:
        monkeypatch.setattr(one._sent, "can_write_eof", lambda: False)
        one.client.data_received(unended(one))
        one.client._late()
        assert one._sent.last.startswith(b"HTTP/1.1 408 ")
        one.client.pause_writing()
        one.client.resume_writing()
        assert one.client._deadline < math.inf


async def test_an_answer_that_is_not_taken_is_waited_for_though_another_request_has_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with driven(tmp_path) as one:
        one.client.data_received(unended(one))
        assert not one.client.is_busy
        monkeypatch.setattr(one._sent, "get_write_buffer_size", lambda: 1)
        assert one.client.is_busy


async def test_a_head_that_has_begun_behind_an_answer_has_the_time_of_any_other(tmp_path: Path) -> None:
    """Not what a connection has between two requests."""
    async with stack(tmp_path, receive_timeout_s=0.1, keep_alive_s=60) as s:
        for ahead in (HEALTH + b"\r\n", POST + b"\r\n" + BODY):
            assert statuses(await s.raw(ahead + HEALTH)) == [200, 408]


async def test_silent_connection_is_closed_without_a_word(tmp_path: Path) -> None:
    async with stack(tmp_path, receive_timeout_s=0.1) as s:
        assert await s.raw(b"") == b""


async def test_idle_connection_is_closed_after_its_time(tmp_path: Path) -> None:
    async with stack(tmp_path, keep_alive_s=0.1) as s:
        assert statuses(await s.raw(HEALTH + b"\r\n")) == [200]


async def test_connection_answered_before_its_body_is_closed_too(tmp_path: Path) -> None:
    async with stack(tmp_path, keep_alive_s=0.1) as s, asyncio.timeout(5):
        reader, writer = await asyncio.open_connection("127.0.0.1", s.port)
        writer.write(CHAT + b"content-type: text/plain\r\ncontent-length: 2\r\n\r\n")
        await reader.readuntil(b"415")
        writer.write(b"{}")
        await reader.read()  # until it is closed
        writer.close()


async def test_pipelined_requests_are_answered_in_order(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        answers = await s.raw(
            HEALTH + b"\r\n" + POST + b"\r\n" + BODY + b"GET /nope HTTP/1.1\r\nhost: x\r\n" + CLOSE
        )
        assert statuses(answers) == [200, 200, 404]
        assert (
            answers.index(b"open_connections") < answers.index(b"chat.completion") < answers.index(b"/nope")
        )


async def test_too_many_pipelined_requests_are_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_s: list[float] = []
    monkeypatch.setattr(GatewayProtocol, "_set_deadline", lambda _, seconds: given_s.append(seconds))
    async with stack(tmp_path, receive_timeout_s=30, keep_alive_s=5) as s:
        s.engine.answers["base"] = Answer(hold_head=asyncio.Event())
        answers = await s.raw(POST + b"\r\n" + BODY + (HEALTH + b"\r\n") * (MAX_PIPELINED + 1))
        assert answers == b""
        assert given_s[-1] == 5  # to take what was written, and no more for a request to come
        await s.at_rest()


async def test_bodies_sent_ahead_of_their_turn_are_bounded_together(tmp_path: Path) -> None:
    """They are held though nothing waits for them yet, and count in no other bound."""
    large = json.dumps({"model": "base", "messages": [], "user": "x" * 60_000}).encode()
    ahead = CHAT + b"content-length: %d\r\n\r\n%b" % (len(large), large)
    async with stack(tmp_path) as s:
        s.engine.answers["base"] = Answer(hold_head=asyncio.Event())
        ahead *= MAX_PIPELINED_BYTES // len(large) + 1
        answers = await s.raw(POST + b"\r\n" + BODY + ahead + HEALTH + b"\r\n")
        assert answers == b""
        await s.at_rest()


@pytest.mark.parametrize("junk", [b"\0\1", b"junk junk\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"])
@pytest.mark.parametrize("chunked", [False, True])
async def test_junk_behind_a_good_request_is_refused_after_its_answer(
    tmp_path: Path, junk: bytes, chunked: bool
) -> None:
    body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY) if chunked else BODY
    framing = b"transfer-encoding: chunked" if chunked else b"content-length: %d" % len(BODY)
    async with stack(tmp_path) as s:
        for _ in range(2):  # by a task, which connects to the engine, then without one
            s.engine.answers["base"] = Answer(hold_head=(held := asyncio.Event()))
            asking = asyncio.create_task(s.raw(CHAT + framing + b"\r\n\r\n" + body + junk))
            await s.engine.until(lambda: s.engine.active == 1)
            held.set()
            assert statuses(await asking) == [200, 400]
            await s.at_rest()


async def test_body_ahead_that_begins_like_a_chunk_is_no_chunk_of_the_next_request(tmp_path: Path) -> None:
    chunks = b"transfer-encoding: chunked\r\n" + CLOSE + b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
    async with stack(tmp_path) as s:
        ahead = CHAT + b"content-length: 8\r\n\r\n99999999"
        assert statuses(await s.raw(ahead + CHAT + chunks)) == [400, 200]


async def test_what_comes_behind_junk_does_not_change_why_it_is_refused(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        s.engine.answers["base"] = Answer(hold_head=(held := asyncio.Event()))
        reader, writer = await asyncio.open_connection("127.0.0.1", s.port)
        writer.write(POST + b"\r\n" + BODY + b"junk junk\r\n\r\n")
        await s.engine.until(lambda: s.engine.active == 1)
        (connection,) = protocols(s)
        writer.write(b"x" * 2 * MAX_HEAD_BYTES)
        await eventually(lambda: connection._unmoved_bytes > MAX_HEAD_BYTES)
        held.set()
        assert statuses(await reader.read()) == [200, 400]
        writer.close()


async def test_client_gone_with_a_pipelined_request_aborts(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        s.engine.answers["base"] = Answer(hold_head=asyncio.Event())
        _, writer = await asyncio.open_connection("127.0.0.1", s.port)
        writer.write(POST + b"\r\n" + BODY)
        await s.engine.until(lambda: s.engine.active == 1)
        writer.write((HEALTH + b"\r\n") * 3)
        await eventually(lambda: any(len(each._pipelined) == 3 for each in protocols(s)))
        writer.transport.abort()
        await s.engine.until(lambda: s.engine.aborts == 1)
        await s.at_rest()


async def test_request_after_connection_close_is_not_answered(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        assert statuses(await s.raw(HEALTH + CLOSE + HEALTH + b"\r\n")) == [200]


async def test_continue_is_said_only_where_the_body_is_wanted(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        answers = await s.raw(POST + b"expect: 100-continue\r\n" + CLOSE, BODY)
        assert statuses(answers)[-1] == 200
        refused = await s.raw(POST + b"content-type: text/plain\r\nexpect: 100-continue\r\n" + CLOSE)
        assert statuses(refused) == [415]
        async with asyncio.timeout(5):
            reader, writer = await asyncio.open_connection("127.0.0.1", s.port)
            writer.write(POST + b"expect: 100-continue\r\n" + CLOSE)
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            writer.write(BODY)
            assert statuses(await reader.read()) == [200]
            writer.close()


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"HEAD /health HTTP/1.1\r\nhost: x\r\n" + CLOSE, 200),
        (b"HEAD /v1/models HTTP/1.1\r\nhost: x\r\n" + CLOSE, 200),
        (b"HEAD /v1/chat/completions HTTP/1.1\r\nhost: x\r\n" + CLOSE, 405),
    ],
)
async def test_head_has_no_body(tmp_path: Path, request_: bytes, status: int) -> None:
    async with stack(tmp_path) as s:
        answer = await s.raw(request_)
        assert statuses(answer) == [status]
        assert answer.endswith(b"\r\n\r\n")
        assert answer.count(b"\r\n\r\n") == 1


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"OPTIONS /v1/chat/completions HTTP/1.1\r\nhost: x\r\n" + CLOSE, 405),
        (b"OPTIONS * HTTP/1.1\r\nhost: x\r\n" + CLOSE, 404),
        (b"CONNECT /health HTTP/1.1\r\nhost: x\r\n\r\n", 405),
        (HEALTH + b"content-length: 3\r\n" + CLOSE + b"abc", 200),
        (b"GET /health HTTP/1.0\r\n\r\n", 200),
        (b"GET /health HTTP/1.0\r\nconnection: keep-alive\r\n\r\n", 200),
        (b"POST /v1/chat/completions HTTP/1.0\r\ncontent-length: %d\r\n\r\n" % len(BODY) + BODY, 200),
        (b"\r\n\r\n" + HEALTH + CLOSE, 200),
        (b"GET /health?x=1 HTTP/1.1\r\nhost: x\r\n" + CLOSE, 200),
        (b"GET /health#x HTTP/1.1\r\nhost: x\r\n" + CLOSE, 200),
        (b"GET //health HTTP/1.1\r\nhost: x\r\n" + CLOSE, 404),
        (b"GET /%zz%e9 HTTP/1.1\r\nhost: x\r\n" + CLOSE, 404),
        (b"GET /a%00b HTTP/1.1\r\nhost: x\r\n" + CLOSE, 404),
        (b"GET /%ed%a0%80 HTTP/1.1\r\nhost: x\r\n" + CLOSE, 404),
        (CHAT + b"content-length: 999999999999\r\n" + CLOSE + b"{", 413),
        (HEALTH + b"connection: upgrade\r\nupgrade: h2c\r\n\r\n", 200),
        (HEALTH + b"connection: upgrade\r\nupgrade: websocket\r\n\r\n", 200),
    ],
)
async def test_what_is_rare_is_answered(tmp_path: Path, request_: bytes, status: int) -> None:
    async with stack(tmp_path) as s:
        answer = await s.raw(request_)
        assert statuses(answer) == [status]
        assert json.loads(answer.partition(b"\r\n\r\n")[2])


@pytest.mark.parametrize("cut", [0, 10, len(BODY)])
async def test_offer_of_h2c_with_a_body_is_answered(tmp_path: Path, cut: int) -> None:
    """Java's client sends it with every request; the parser then takes the body for HTTP/2."""
    async with stack(tmp_path) as s:
        whole = POST + H2C + b"\r\n" + BODY
        async with asyncio.timeout(5):
            reader, writer = await asyncio.open_connection("127.0.0.1", s.port)
            writer.write(whole[: len(whole) - cut])
            if cut:
                await eventually(lambda: any(each.cycle is not None for each in protocols(s)))
            writer.write(whole[len(whole) - cut :])
            assert statuses(await reader.read()) == [200]
            writer.close()
        chunked = b"transfer-encoding: chunked\r\n\r\n5\r\n" + BODY[:5] + b"\r\n"
        rest = b"%x\r\n" % len(BODY[5:]) + BODY[5:] + b"\r\n0\r\n\r\n"
        assert statuses(await s.raw(CHAT + H2C + chunked, rest)) == [200]
        assert [sent.json["model"] for sent in s.engine.completions] == ["base", "base"]


async def test_slow_body_of_an_offer_of_h2c_is_408(tmp_path: Path) -> None:
    async with stack(tmp_path, receive_timeout_s=0.1) as s:
        assert statuses(await s.raw(POST + H2C + b"\r\n" + BODY[:5])) == [408]


async def test_any_split_of_a_request_is_one_request(tmp_path: Path) -> None:
    async with stack(tmp_path) as s, asyncio.timeout(10):
        whole = POST + CLOSE + BODY
        for step in (1, 7):
            reader, writer = await asyncio.open_connection("127.0.0.1", s.port)
            for start in range(0, len(whole), step):
                writer.write(whole[start : start + step])
                await asyncio.sleep(0)
            assert statuses(await reader.read()) == [200]
            writer.close()
        assert [sent.body for sent in s.engine.completions] == [BODY, BODY]


@pytest.mark.parametrize("answer", [Answer(flood_bytes=64 << 20), Answer(body=b'"%b"' % (b"x" * (32 << 20)))])
async def test_client_that_takes_nothing_loses_its_place(tmp_path: Path, answer: Answer) -> None:
    async with stack(tmp_path, keep_alive_s=0.3) as s:
        s.engine.answers["base"] = answer
        _, writer = await s.open(model="base", stream=bool(answer.flood_bytes))
        cast(asyncio.Transport, writer.transport).pause_reading()
        await s.engine.until(lambda: s.engine.active == 1)
        await s.at_rest()
        await eventually(lambda: not s.server.connections)
        writer.transport.abort()


async def test_stream_to_http_1_0_has_no_chunk_sizes(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        body = b'{"model":"base","messages":[],"stream":true}'
        line = b"POST /v1/chat/completions HTTP/1.0\r\ncontent-length: %d\r\n\r\n" % len(body)
        for _ in range(2):  # by a task, which connects to the engine, then without one
            head, _, events = (await s.raw(line + body)).partition(b"\r\n\r\n")
            assert b"chunked" not in head
            assert events.startswith(b"data: ")
            assert events.endswith(b"data: [DONE]\n\n")


async def test_key_in_a_trailer_is_none(tmp_path: Path) -> None:
    keys = {"a": {"sha256": hashlib.sha256(b"sk-a").hexdigest()}}
    async with stack(tmp_path, keys=keys) as s:
        body = b"%x\r\n%b\r\n0\r\nauthorization: Bearer sk-a\r\n\r\n" % (len(BODY), BODY)
        assert statuses(await s.raw(CHAT + b"transfer-encoding: chunked\r\n" + CLOSE + body)) == [401]


async def test_length_of_thousands_of_digits_is_answered(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        head = CHAT + b"content-length: %b%d\r\n" % (b"0" * 5000, len(BODY))
        assert len(statuses(await s.raw(head + CLOSE + BODY))) == 1
        assert (await s.chat()).status_code == 200


async def test_client_that_sends_but_never_reads_is_cut_off(tmp_path: Path) -> None:
    async with stack(tmp_path, keep_alive_s=0.2) as s:
        s.engine.answers["base"] = Answer(flood_bytes=32 * 1024 * 1024)
        body = b'{"model":"base","messages":[],"stream":true}'
        _, writer = await asyncio.open_connection("127.0.0.1", s.port)
        request = CHAT + b"content-length: %d\r\n\r\n" % len(body) + body
        writer.write(request)
        await s.engine.until(lambda: s.engine.active == 1)
        writer.write(request + HEALTH)  # what comes after must not lengthen its time
        await s.engine.until(lambda: s.engine.aborts == 1)
        await s.at_rest()
        writer.transport.abort()


async def test_who_is_refused_at_once_is_not_asked_to_go_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with stack(tmp_path, express=False) as s:
        head = CHAT + b"expect: 100-continue\r\ntransfer-encoding: chunked\r\n\r\n"
        assert statuses(await s.raw(head + b"{}")) == [400]
        await eventually(lambda: not s.server.tasks)
    assert not caplog.records


async def test_a_piece_of_a_body_is_not_copied_and_more_are_added_in_place(tmp_path: Path) -> None:
    async with driven(tmp_path) as one:
        one.client.cycle = cycle = Cycle(one.client, [])
        one.client.on_body(piece := b"a" * 1000)
        assert (await cycle.receive())["body"] is piece
        one.client.on_body(piece)
        one.client.on_body(b"b")
        held = cycle.body
        one.client.on_body(b"c")
        assert cycle.body is held
        assert (await cycle.receive())["body"] == piece + b"bc"
