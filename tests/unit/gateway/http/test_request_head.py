"""The head of a request as it comes: bounded, and refused where a server may not go by it.

One that comes again on its connection is not parsed again, and nobody can tell.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from gateway.config.document import KeyConfig
from gateway.errors import HeadTooLarge, InvalidRequest, RequestError
from gateway.http.client_connection import GatewayProtocol
from gateway.http.parsers import Deaf, parts_of
from gateway.http.request_head import (
    MAX_HEADERS,
    MOST_HEADS,
    MOST_KNOWN_BYTES,
    TRIED_AGAIN,
    HeadReader,
    KnownHead,
)
from gateway.http.strictness import MAX_HEAD_BYTES
from tests.support.cost.request_cost import driven
from tests.support.stack import Stack, eventually, stack

CHAT = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n"
_OF_THE_MOMENT = re.compile(
    rb"(x-request-id|request-id|x-gateway-overhead-ms): [^\r]*\r\n|chatcmpl-[0-9a-z-]+"
)
PLAIN = b"POST /v1 HTTP/1.1\r\nhost: x\r\n\r\n"


def reader(read: bytes, *headers: tuple[bytes, bytes]) -> HeadReader:
    made = HeadReader()
    made._begin_head()
    made._read = read
    for header in headers:
        made.on_header(*header)
    return made


def test_target_comes_in_pieces_and_names_of_headers_are_made_small() -> None:
    made = reader(PLAIN, (b"Host", b"x"), (b"X-Other", b"Y"))
    made.on_url(b"/v1/ch")
    made.on_url(b"at")
    assert made._url == b"/v1/chat"
    assert made._headers == [(b"host", b"x"), (b"x-other", b"Y")]


def test_headers_are_bounded() -> None:
    made = reader(PLAIN, *[(b"a", b"b")] * MAX_HEADERS)
    with pytest.raises(HeadTooLarge):
        made.on_header(b"a", b"b")


def test_plain_head_passes_and_a_body_in_chunks_is_found() -> None:
    assert reader(PLAIN, (b"host", b"x"))._check_head(b"POST", b"/v1", "1.1") is None
    chunked = PLAIN[:-2] + b"transfer-encoding: chunked\r\n\r\n"
    made = reader(chunked + b"5\r\n", (b"host", b"x"), (b"transfer-encoding", b"chunked"))
    assert made._check_head(b"POST", b"/v1", "1.1") == b"5\r\n"


def test_of_two_heads_in_one_read_that_begin_alike_no_body_is_taken_for_the_others() -> None:
    ahead = PLAIN[:-2] + b"content-length: 4\r\n\r\nffff"
    chunked = PLAIN[:-2] + b"transfer-encoding: chunked\r\n\r\n5\r\n"
    made = reader(ahead + chunked, (b"host", b"x"), (b"transfer-encoding", b"chunked"))
    assert made._check_head(b"POST", b"/v1", "1.1") is None


@pytest.mark.parametrize(
    ("read", "headers", "version"),
    [
        (b"POST /v1 RTSP/1.1\r\nhost: x\r\n\r\n", [(b"host", b"x")], "1.1"),
        (b"POST  /v1 HTTP/1.1\r\nhost: x\r\n\r\n", [(b"host", b"x")], "1.1"),
        (PLAIN, [], "1.1"),
        (PLAIN, [(b"host", b"x"), (b"host", b"y")], "1.1"),
        (PLAIN.replace(b"1.1", b"2.0"), [(b"host", b"x")], "2.0"),
        (PLAIN, [(b"host", b"x"), (b"transfer-encoding", b"gzip")], "1.1"),
    ],
)
def test_head_that_could_mean_two_things_is_refused(
    read: bytes, headers: list[tuple[bytes, bytes]], version: str
) -> None:
    with pytest.raises(RequestError):
        reader(read, *headers)._check_head(b"POST", b"/v1", version)


def test_first_line_of_another_protocol_says_what_it_must_be() -> None:
    with pytest.raises(InvalidRequest, match=r"method, target and HTTP/1\.1"):
        reader(b"POST /v1 RTSP/1.1\r\n\r\n", (b"host", b"x"))._check_head(b"POST", b"/v1", "1.1")


@pytest.mark.parametrize(
    ("expect", "heard"),
    [((b"Expect", b"100-Continue"), True), ((b"expect", b"something"), False), ((b"a", b"b"), False)],
)
def test_expectation_is_heard_in_any_spelling(expect: tuple[bytes, bytes], heard: bool) -> None:
    made = reader(PLAIN, (b"host", b"x"), expect)
    made._check_head(b"POST", b"/v1", "1.1")
    assert made._expects_continue is heard


@pytest.mark.parametrize("host", [[(b"host", b"x")], []])
def test_expectation_of_a_client_that_knows_no_interim_answer_is_not_heard(
    host: list[tuple[bytes, bytes]],
) -> None:
    made = reader(PLAIN, *host, (b"expect", b"100-continue"))
    made._check_head(b"POST", b"/v1", "1.0")
    assert not made._expects_continue


HEAD = b"POST /v1 HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nX-Other: 2\r\n\r\n"
HEADERS = [(b"host", b"x"), (b"content-length", b"2"), (b"x-other", b"2")]


def known() -> KnownHead:
    parts = parts_of(HEAD)
    assert parts is not None
    return KnownHead(parts[0], parts[2], HEADERS, 1, (b"/v1", b"", "/v1"), b"", None, lambda _: True)


@pytest.mark.parametrize(
    ("read", "found"),
    [
        (HEAD + b"{}", (2, b"{}")),
        (HEAD.replace(b"h: 2", b"h: 12") + b'{"a":"b c" }', (12, b'{"a":"b c" }')),
        (HEAD.replace(b"h: 2", b"h: 0"), (0, b"")),
        (HEAD + b"{", (2, b"{")),
        (HEAD + b"{}" + HEAD, (2, b"{}" + HEAD)),
        (HEAD, (2, b"")),
        (HEAD.replace(b"h: 2", b"h: "), None),
        (HEAD.replace(b"h: 2", b"h: +2") + b"{}", None),
        (HEAD.replace(b"h: 2", b"h: -0"), None),
        (HEAD.replace(b"h: 2", b"h: 2 ") + b"{}", None),
        (HEAD.replace(b"h: 2", b"h:2") + b"{}", None),
        (HEAD.replace(b"h: 2", b"h: 0x2") + b"{}", None),
        (HEAD.replace(b"h: 2", "h: ²".encode()) + b"{}", None),
        (HEAD.replace(b"h: 2", b"h: 2\r\nContent-Length: 2") + b"{}", None),
        (HEAD.replace(b"h: 2", b"h: 00000000002") + b"{}", None),
        (HEAD.replace(b"POST", b"PUT") + b"{}", None),
        (HEAD.replace(b"Host: x", b"Host: y") + b"{}", None),
        (HEAD.replace(b"Other: 2", b"Other: 3") + b"{}", None),
        (b"\r\n" + HEAD + b"{}", None),
        (HEAD[1:] + b"{}", None),
        (HEAD[:-1], None),
        (b"", None),
    ],
)
def test_head_is_known_where_only_the_digits_of_its_length_differ(
    read: bytes, found: tuple[int, bytes] | None
) -> None:
    assert known().split(read) == found


def test_known_head_has_the_length_of_the_body_that_came() -> None:
    one = known()
    assert one.headers_with(b"abc") == [(b"host", b"x"), (b"content-length", b"3"), (b"x-other", b"2")]
    assert one.headers_with(b"") != one.headers_with(b"ab") == HEADERS


@pytest.mark.parametrize(
    "head",
    [
        HEAD + b"{}",
        b"tail of another\r\n\r\n" + HEAD,
        HEAD[:-1],
        HEAD.replace(b"Content-Length: 2", b"A: 2"),
        HEAD.replace(b"X-Other", b"Content-Length"),
        # What the parser reads as one header's value is not taken for another's.
        HEAD.replace(b"h: 2", b"h:\t\x0b2"),
    ],
)
def test_what_is_not_one_head_with_a_length_is_not_kept(head: bytes) -> None:
    assert parts_of(head) is None


def test_head_is_kept_where_the_parser_has_read_the_same_length() -> None:
    made = HeadReader()
    more: Any = (b"/v1", b"", "/v1"), b"", lambda _: True
    for headers in ([(b"host", b"x")], [(b"host", b"x"), (b"content-length", b"02")]):
        assert made._kept_head(HEAD, headers, *more) is made._known is None
    long = HEAD[:-2] + b"a: " + b"b" * MOST_KNOWN_BYTES + b"\r\n\r\n"
    assert made._kept_head(long, HEADERS, *more) is made._known is None
    kept = made._kept_head(HEAD, HEADERS, *more)
    assert kept is not None
    assert kept is made._known
    assert kept.headers_with(b"abc")[1] == (b"content-length", b"3")


def body_of(text: str, **more: object) -> bytes:
    return json.dumps({"model": "base", "messages": [{"role": "user", "content": text}], **more}).encode()


def request(body: bytes, more: bytes = b"", head: bytes = CHAT) -> bytes:
    return head + more + b"content-length: %d\r\n\r\n" % len(body) + body


def connection(s: Stack) -> GatewayProtocol:
    (one,) = (each for each in s.server.connections if isinstance(each, GatewayProtocol))
    return one


async def whole_answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    async with asyncio.timeout(10):
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
        return int(head[9:12]), head + await reader.readexactly(length)


@pytest.mark.anyio
async def test_same_head_with_another_body_is_not_parsed(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        reader, writer = await asyncio.open_connection("127.0.0.1", s.port)
        for text in ("one", "a longer one"):
            writer.write(request(body_of(text), b"x-request-id: mine\r\n"))
            assert (await whole_answer(reader))[0] == 200
        connection(s).parser = cast(Any, Deaf())
        for text in ("", "three", "one"):
            writer.write(request(body_of(text), b"x-request-id: mine\r\n"))
            status, answer = await whole_answer(reader)
            assert status == 200
            assert b"x-request-id: mine\r\n" in answer
        texts = [json.loads(asked.body)["messages"][0]["content"] for asked in s.engine.completions]
        assert texts == ["one", "a longer one", "", "three", "one"]
        writer.close()


@pytest.mark.anyio
async def test_same_head_whose_body_comes_behind_it_is_not_parsed(tmp_path: Path) -> None:
    """As several clients send them."""
    async with stack(tmp_path) as s:
        reader, writer = await asyncio.open_connection("127.0.0.1", s.port)
        for index, text in enumerate(("one", "two", "a longer one", "")):
            body = body_of(text)
            writer.write(request(body)[: -len(body)])
            await eventually(lambda: bool(s.server.connections) and connection(s)._receiving)
            assert s.gateway.admission.in_flight == 0
            writer.write(body)
            assert (await whole_answer(reader))[0] == 200
            if index:
                connection(s).parser = cast(Any, Deaf())
        assert len(s.engine.completions) == 4
        writer.close()


@pytest.mark.anyio
async def test_body_that_never_comes_behind_a_known_head_is_408(tmp_path: Path) -> None:
    async with stack(tmp_path, receive_timeout_s=0.2) as s:
        reader, writer = await asyncio.open_connection("127.0.0.1", s.port)
        body = body_of("x")
        for _ in range(2):
            writer.write(request(body))
            assert (await whole_answer(reader))[0] == 200
        writer.write(request(body)[: -len(body)])
        assert (await whole_answer(reader))[0] == 408
        writer.write(body)
        assert await reader.read() == b""
        writer.close()


@pytest.mark.anyio
async def test_idle_connection_holds_nothing_of_what_it_has_read(tmp_path: Path) -> None:
    """Not of its last request, nor of an earlier one, where those since came with a known head."""
    async with stack(tmp_path) as s:
        reader, writer = await asyncio.open_connection("127.0.0.1", s.port)
        for size in (20_000, 10, 10_000):
            writer.write(request(body_of("x" * size)))
            assert (await whole_answer(reader))[0] == 200
            held = connection(s)
            assert held.cycle is not None
            assert (held._read, bytes(held.cycle.body)) == (b"", b"")
        writer.close()


@pytest.mark.anyio
async def test_each_request_of_a_known_head_has_an_id_of_its_own(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        reader, writer = await asyncio.open_connection("127.0.0.1", s.port)
        ids = set()
        for _ in range(4):
            writer.write(request(body_of("x")))
            _, answer = await whole_answer(reader)
            ids.add(answer.partition(b"x-request-id: ")[2].partition(b"\r")[0])
        assert len(ids) == 4
        writer.close()


@pytest.mark.anyio
async def test_revoked_key_is_refused_on_a_connection_that_was_let_in(tmp_path: Path) -> None:
    keys = {name: {"sha256": hashlib.sha256(name.encode() * 20).hexdigest()} for name in ("one", "two")}
    async with stack(tmp_path, keys=keys) as s:
        reader, writer = await asyncio.open_connection("127.0.0.1", s.port)
        sent = request(body_of("x"), b"authorization: Bearer %b\r\n" % (b"one" * 20))
        for _ in range(3):
            writer.write(sent)
            assert (await whole_answer(reader))[0] == 200
        s.gateway._keys.replace({"two": KeyConfig.model_validate(keys["two"])}, [])
        for _ in range(2):
            writer.write(sent)
            assert (await whole_answer(reader))[0] == 401
        writer.close()


@pytest.mark.anyio
async def test_without_keys_any_more_a_known_head_is_judged_by_its_name(tmp_path: Path) -> None:
    keys = {"one": {"sha256": hashlib.sha256(b"one" * 20).hexdigest()}}
    async with stack(tmp_path, keys=keys) as s:
        reader, writer = await asyncio.open_connection("127.0.0.1", s.port)
        head = CHAT.replace(b"host: x", b"host: page.example.com")
        sent = request(body_of("x"), b"authorization: Bearer %b\r\n" % (b"one" * 20), head)
        for _ in range(3):
            writer.write(sent)
            assert (await whole_answer(reader))[0] == 200
        s.gateway._keys.replace({}, [])
        writer.write(sent)
        status, answer = await whole_answer(reader)
        assert (status, b"host_not_allowed" in answer) == (403, True)
        writer.close()


@pytest.mark.anyio
async def test_known_head_behind_the_last_request_is_dropped(tmp_path: Path) -> None:
    """A transport with TLS may hand over what it has read when it is closed already."""
    async with driven(tmp_path) as one:
        client = one.client
        client.data_received(one._chat.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n", 1))
        one.engine.data_received(one._answer)
        last = client.cycle
        assert last is not None
        assert last.response_complete
        client.data_received(one._chat)
        assert client.cycle is last


@pytest.mark.anyio
async def test_known_head_behind_what_is_no_http_is_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As above, where the answer that it came behind could not be followed by a refusal any more."""
    async with driven(tmp_path) as one:
        one.client.data_received(one._chat)
        last = one.client.cycle
        one.client.data_received(b"\0nonsense")
        monkeypatch.setattr(one._sent, "is_closing", lambda: True)
        one.engine.data_received(one._answer)
        one.client.data_received(one._chat)
        assert one.client.cycle is last


@pytest.mark.anyio
async def test_known_head_without_its_body_is_refused_in_time_as_any_other(tmp_path: Path) -> None:
    """The page that waits may read why."""
    page = b"origin: https://page.example.com\r\n"
    async with stack(tmp_path, receive_timeout_s=0.2, cors_origins=["https://page.example.com"]) as s:
        reader, writer = await asyncio.open_connection("127.0.0.1", s.port)
        sent = request(body_of("x"), page)
        for _ in range(2):
            writer.write(sent)
            assert (await whole_answer(reader))[0] == 200
        writer.write(sent[: sent.index(b"\r\n\r\n") + 4])
        status, answer = await whole_answer(reader)
        assert status == 408
        assert b"access-control-allow-origin: https://page.example.com\r\n" in answer
        writer.close()


@pytest.mark.anyio
@pytest.mark.parametrize("path", [b"/v1/chat/completions", b"/v1/files"])
async def test_a_page_may_read_why_a_chunk_that_comes_with_its_head_is_refused(
    tmp_path: Path, path: bytes
) -> None:
    async with stack(tmp_path, cors_origins=["https://page.example.com"]) as s:
        reader, writer = await asyncio.open_connection("127.0.0.1", s.port)
        head = b"host: x\r\norigin: https://page.example.com\r\ntransfer-encoding: chunked\r\n\r\n"
        writer.write(b"POST %b HTTP/1.1\r\n%bffffffff\r\n" % (path, head))
        status, answer = await whole_answer(reader)
        assert status == 413
        assert b"access-control-allow-origin: https://page.example.com\r\n" in answer
        writer.close()
        await s.at_rest()


@pytest.mark.anyio
async def test_head_that_comes_while_its_connection_closes_gives_it_no_more_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with driven(tmp_path) as one:
        client, end = one.client, one._chat.index(b"\r\n\r\n") + 4
        monkeypatch.setattr(one._sent, "is_closing", lambda: True)
        before = client._deadline
        client.data_received(one._chat[:end])
        assert client._deadline == before
        client.data_received(one._chat[end:])
        one.engine.data_received(one._answer)
        assert b"a fruit" in one._sent.last


@pytest.mark.anyio
async def test_body_in_pieces_behind_a_known_head_has_no_more_time_than_another(tmp_path: Path) -> None:
    async with driven(tmp_path) as one:
        client, end = one.client, one._chat.index(b"\r\n\r\n") + 4
        client.data_received(one._chat[:end])
        until = client._deadline
        client.receive_timeout_s = 90.0  # what comes now would have until later
        client.data_received(one._chat[end:-1])
        assert client._deadline == until
        client.data_received(one._chat[-1:])
        one.engine.data_received(one._answer)
        assert b"a fruit" in one._sent.last


@pytest.mark.anyio
@pytest.mark.parametrize("differ", [0, MOST_HEADS, 40])
async def test_head_that_comes_again_is_found_after_any_number_that_did_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, differ: int
) -> None:
    async with driven(tmp_path) as one:
        client, hits, found = one.client, [0], one.client._serve_again

        def seen(known: KnownHead, body: bytes) -> None:
            hits[0] += 1
            found(known, body)

        monkeypatch.setattr(client, "_serve_again", seen)

        def ask(number: int, times: int) -> int:
            """How many were not parsed."""
            hits[0] = 0
            for _ in range(times):
                client.data_received(one._chat.replace(b"host: x", b"host: x\r\nx-number: %d" % number))
                one.engine.data_received(one._answer)
            return hits[0]

        assert [ask(number, 1) for number in range(differ)] == [0] * differ
        assert ask(1000, TRIED_AGAIN + 5) >= 4
        assert [ask(number, 2) for number in range(2000, 2040)] == [1] * 40


@pytest.mark.anyio
@pytest.mark.parametrize("change", ["revoked", "may nothing", "body", "type"])
async def test_known_head_is_refused_before_its_body_is_here(tmp_path: Path, change: str) -> None:
    """As one that is parsed: the body may never come."""
    key, other = ({"sha256": hashlib.sha256(name).hexdigest()} for name in (b"k" * 40, b"o" * 40))
    async with stack(tmp_path, keys={"one": key, "two": other}, max_body_bytes=1000) as s:
        reader, writer = await asyncio.open_connection("127.0.0.1", s.port)
        more = b"authorization: Bearer %b\r\n" % (b"k" * 40)
        more += b"content-type: text/plain\r\n" if change == "type" else b""
        whole = request(body_of("x"), more)
        for _ in range(3):
            writer.write(whole)
            assert (await whole_answer(reader))[0] == (415 if change == "type" else 200)
        if change == "revoked":
            s.gateway._keys.replace({"two": KeyConfig.model_validate(other)}, [])
        elif change == "may nothing":
            s.gateway._keys.replace({"one": KeyConfig.model_validate(key | {"tasks": []})}, [])
        body = b" " * 1001 if change == "body" else body_of("x")
        writer.write(request(body, more)[: -len(body)])
        status = {"revoked": 401, "may nothing": 403, "body": 413, "type": 415}[change]
        assert (await whole_answer(reader))[0] == status
        writer.write(body + request(body_of("x"), more + b"x-a: b\r\n"))
        assert (await whole_answer(reader))[0] == {"revoked": 401, "body": 200}.get(change, status)
        writer.close()


@pytest.mark.anyio
async def test_part_of_a_head_that_is_too_long_already_is_refused_in_its_first_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with driven(tmp_path) as one:
        monkeypatch.setattr(one._sent, "can_write_eof", lambda: False)
        one.client.data_received(CHAT + b"x-long: " + b"x" * MAX_HEAD_BYTES)
        assert one._sent.last.startswith(b"HTTP/1.1 431 ")


@pytest.mark.anyio
async def test_fault_of_ours_while_a_head_is_read_is_logged_and_no_fault_of_the_clients(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(method: bytes, url: bytes, version: str) -> bytes | None:
        raise KeyError("ours")

    async with driven(tmp_path) as one:
        monkeypatch.setattr(one._sent, "can_write_eof", lambda: False)
        monkeypatch.setattr(one.client, "_check_head", broken)
        one.client.data_received(CHAT + b"x-new: y\r\ncontent-length: 2\r\n\r\n{}")
        assert one._sent.last.startswith(b"HTTP/1.1 500 ")
    assert "KeyError: 'ours'" in caplog.text


def pieces(seed: int) -> list[bytes]:
    """Reads of one connection: requests whole, cut, joined, with other heads, some no HTTP."""
    chance = random.Random(seed)
    reads: list[bytes] = []
    for _ in range(chance.randint(3, 9)):
        body = body_of("x" * chance.randint(0, 30), **({"nope": 1} if chance.random() < 0.1 else {}))
        sent = request(
            body, chance.choice([b"", b"", b"", b"x-a: b\r\n", b"content-type: application/json\r\n"])
        )
        way = chance.random()
        if way < 0.1:
            at = chance.randint(1, len(sent) - 1)
            reads += [sent[:at], sent[at:]]
        elif way < 0.13:
            reads.append(b"\r\n" + sent)
        elif way < 0.17:
            reads += [sent[: -len(body) - 1], sent[-len(body) - 1 :]]
        elif way < 0.2:
            reads.append(sent + sent)
        elif way < 0.25:
            reads.append(request(body, head=b"GET /nope HTTP/1.1\r\nhost: x\r\n"))
        elif way < 0.3:
            reads.append(request(body, b"transfer-encoding: chunked\r\n"))
        elif way < 0.35:
            reads += [b"P", sent]
        elif way < 0.4:
            reads.append(sent.replace(b"content-length: ", b"content-length: +"))
        elif way < 0.45:
            reads.append(request(body, b"expect: 100-continue\r\n"))
        elif way < 0.5:
            reads += [sent[: -len(body)], body[:5], body[5:]]
        elif way < 0.55:
            reads += [sent[: -len(body)], body + sent]
        elif way < 0.7:
            reads += [sent[: -len(body)], body]
        else:
            reads.append(sent)
    return [*reads, request(b"{}", b"connection: close\r\n")]


async def answers_to(s: Stack, reads: Sequence[bytes], read_bytes: list[int]) -> bytes:
    """All that came back, each read sent once that before it was seen."""
    reader, writer = await asyncio.open_connection("127.0.0.1", s.port)
    read_bytes.clear()
    try:
        for index, read in enumerate(reads):
            writer.write(read)
            sent = sum(map(len, reads[: index + 1]))
            await eventually(lambda sent=sent: not s.server.connections or sum(read_bytes) >= sent)  # type: ignore[misc]
            await s.at_rest()
        writer.write_eof()
        async with asyncio.timeout(10):
            return _OF_THE_MOMENT.sub(b"", await reader.read())
    except ConnectionError:
        return b"reset"
    finally:
        writer.transport.abort()
        await eventually(lambda: not s.server.connections)


@pytest.mark.anyio
@pytest.mark.parametrize("seed", range(60))
async def test_no_client_can_tell_whether_its_head_was_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    read_bytes: list[int] = []
    received = GatewayProtocol.data_received

    def seen(self: GatewayProtocol, data: bytes) -> None:
        read_bytes.append(len(data))
        received(self, data)

    monkeypatch.setattr(GatewayProtocol, "data_received", seen)
    async with stack(tmp_path) as s:
        found = await answers_to(s, pieces(seed), read_bytes)
        monkeypatch.setattr(GatewayProtocol, "_keep_head", lambda self, read: None)
        assert found == await answers_to(s, pieces(seed), read_bytes)
        assert found.startswith(b"HTTP/1.1 ")
