"""The way to the engine, against engines that are slow, break off, or never end."""

from __future__ import annotations

import asyncio
import random
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from gateway.errors import EngineError, GatewayTimeout
from gateway.http import parsers
from gateway.http.client_connection import GatewayProtocol
from gateway.http.engine_connection import HIGH_WATER_BYTES, Address, Connection, Disconnected, Timeouts
from gateway.http.engine_pool import Upstream
from gateway.http.parsers import Deaf
from tests.fakes.fake_engine import Answer
from tests.fakes.scripted_engine import PATIENT, Peer, Script, engine, repeats, says
from tests.support.stack import eventually, stack
from tests.support.waiting import still

pytestmark = pytest.mark.anyio


OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


async def ask(upstream: Upstream, body: bytes = b"{}", most_bytes: int = 10**9) -> tuple[int, bytes]:
    connection = await upstream.exchange(b"/", (body,), b"id")
    try:
        return connection.status, await connection.whole(most_bytes)
    finally:
        upstream.finish(connection)


async def echo(peer: Peer, number: int) -> None:
    while True:
        body = await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))


async def test_body_in_pieces_arrives_in_order() -> None:
    async with engine(echo) as (_, upstream):
        pieces: list[bytes | memoryview] = [b"a" * 40_000, memoryview(b"b" * 3_000_000), b"c"]
        connection = await upstream.exchange(b"/", pieces, b"id")
        received = b""
        while piece := await connection.read():
            received += piece
        upstream.finish(connection)
        assert received == b"".join(pieces)


@pytest.mark.parametrize(
    ("script", "timeouts"),
    [
        (says(), replace(PATIENT, first_byte_s=0.05)),
        (says(), replace(PATIENT, total_s=0.05)),
        (says(b"HTTP/1.1 2"), replace(PATIENT, idle_s=0.05)),
        (says(OK[:-1]), replace(PATIENT, idle_s=0.05)),
        (says(CHUNKED + b"2\r\nok\r\n"), replace(PATIENT, idle_s=0.05)),
        (repeats(CHUNKED, b"2\r\nok\r\n"), replace(PATIENT, total_s=0.05)),
    ],
    ids=["first byte", "total before", "idle in head", "idle in body", "idle in chunks", "total within"],
)
async def test_each_wait_ends_in_504_and_a_closed_connection(script: Script, timeouts: Timeouts) -> None:
    async with engine(script, timeouts) as (made, upstream):
        with pytest.raises(GatewayTimeout):
            await ask(upstream)
        await eventually(lambda: made.gone == made.connections == 1)


async def test_what_is_larger_than_expected_is_not_read_to_its_end() -> None:
    async with engine(repeats(CHUNKED, b"2\r\nok\r\n")) as (made, upstream):
        with pytest.raises(EngineError, match="larger than 1000 bytes"):
            await ask(upstream, most_bytes=1000)
        await eventually(lambda: made.gone == 1)


async def test_kept_connection_is_under_the_same_timeouts() -> None:
    async def script(peer: Peer, number: int) -> None:
        await peer.request()
        await peer.say(OK)
        await peer.request()
        await peer.reader.read()

    async with engine(script, replace(PATIENT, first_byte_s=0.05)) as (made, upstream):
        assert await ask(upstream) == (200, b"ok")
        with pytest.raises(GatewayTimeout):
            await ask(upstream)
        await eventually(lambda: made.gone == 1)


@pytest.mark.parametrize(
    ("start", "again"),
    [
        (b"HTTP/1.1 200 OK\r\n", b"a: b\r\n" * 100),
        (b"HTTP/1.1 200 OK\r\na: ", b"b" * 1000),
        (b"HTTP/1.1 200 ", b"K" * 1000),
        (CHUNKED + b"2;", b"x" * 1000),
        (CHUNKED + b"2\r\nok\r\n0\r\n", b"a: b\r\n" * 100),
        (CHUNKED + b"2\r\nok\r\n0\r\na: ", b"b" * 1000),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 40),
        (b"", b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" * 40),
    ],
    ids=["headers", "header", "reason", "extension", "trailers", "trailer", "interim", "hints"],
)
async def test_answer_that_does_not_go_on_is_ended(start: bytes, again: bytes) -> None:
    async with engine(repeats(start, again)) as (made, upstream):
        with pytest.raises(EngineError):
            await ask(upstream)
        await eventually(lambda: made.gone == 1)


@pytest.mark.parametrize(
    "answer",
    [
        b"garbage\r\n\r\n",
        CHUNKED + b"zz\r\nok\r\n",
        CHUNKED + b"2\r\nokXX",
        CHUNKED + b"-1\r\n",
        CHUNKED + b"fffffffffffffffffff\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\nok",
        b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/2.0 200 OK\r\n\xff\r\n\r\n",
    ],
)
async def test_answer_that_is_not_http_is_502(answer: bytes) -> None:
    async with engine(says(answer)) as (made, upstream):
        with pytest.raises(EngineError) as raised:
            await ask(upstream)
        assert raised.value.status == 502
        await eventually(lambda: made.gone == 1)


@pytest.mark.parametrize("answer", [OK[:-1], CHUNKED + b"5\r\nok", CHUNKED + b"2\r\nok\r\n", CHUNKED[:-2]])
async def test_answer_that_breaks_off_is_not_asked_for_again(answer: bytes) -> None:
    async with engine(says(answer, then_hold=False)) as (made, upstream):
        with pytest.raises(Disconnected) as raised:
            await ask(upstream)
        assert raised.value.answered
        assert made.connections == 1


@pytest.mark.parametrize(
    "extra",
    [
        b"x",
        b"\r\n\r\nx",
        b"H",
        b"HTTP/1.1 200 OK\r\nx: ",
        OK,
        b"HTTP/1.1 500 X\r\ncontent-length: 3\r\n\r\nbad",
    ],
)
@pytest.mark.parametrize("apart", [True, False])
async def test_more_than_the_answer_is_never_another_requests(extra: bytes, apart: bool) -> None:
    """The surplus is refused or dropped with its connection; it is not taken for an answer."""
    answered = asyncio.Event()

    async def script(peer: Peer, number: int) -> None:
        await peer.request()
        if number:
            await peer.say(OK.replace(b"ok", b"no"))
        elif apart:
            await peer.say(OK)
            await answered.wait()
            await peer.say(extra)
        else:
            await peer.say(OK + extra)
        await peer.reader.read()

    async with engine(script) as (made, upstream):
        if apart:
            assert await ask(upstream) == (200, b"ok")
            answered.set()
        else:
            with pytest.raises(EngineError):
                await ask(upstream)
        await eventually(lambda: made.gone == 1)
        assert await ask(upstream) == (200, b"no")
        assert made.connections == 2


async def test_interim_answers_are_passed_over() -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"
    async with engine(says(interim, interim + OK)) as (_, upstream):
        connection = await upstream.exchange(b"/", (b"{}",), b"id")
        assert await connection.read() == b"ok"
        assert (connection.status, connection.headers) == (200, {b"content-length": b"2"})
        upstream.finish(connection)


async def test_answer_that_ends_with_its_connection_breaks_off() -> None:
    """Without a length nobody can tell a whole answer from half of one."""
    async with engine(says(b"HTTP/1.1 200 OK\r\n\r\nok", then_hold=False)) as (_, upstream):
        with pytest.raises(Disconnected):
            await ask(upstream)


async def test_reading_stops_while_nobody_takes_what_came() -> None:
    chunk = b"%x\r\n%b\r\n" % (65536, b"x" * 65536)
    sent = 0

    async def script(peer: Peer, number: int) -> None:
        nonlocal sent
        await peer.request()
        await peer.say(CHUNKED)
        for _ in range(1024):
            await peer.say(chunk)
            sent += 65536
        await peer.say(b"0\r\n\r\n")
        await peer.reader.read()

    async with engine(script) as (_, upstream):
        connection = await upstream.exchange(b"/", (b"{}",), b"id")
        assert await still(lambda: sent) < 1024 * 65536 // 2
        total = len(await connection.read())
        assert total < HIGH_WATER_BYTES * 4
        while piece := await connection.read():
            total += len(piece)
        assert total == 1024 * 65536
        upstream.finish(connection)


async def test_cancelled_at_any_point_leaves_no_connection() -> None:
    async with engine(says(CHUNKED, b"2\r\nok\r\n")) as (made, upstream):
        for turns in range(25):
            task = asyncio.ensure_future(ask(upstream))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert upstream.open_connections == 0
        await eventually(lambda: made.gone == made.connections)


async def test_small_writes_are_not_held_back(tmp_path: Path) -> None:
    """Nagle's algorithm would hold a token for as long as the other side delays its acknowledgement."""
    async with stack(tmp_path) as s:
        s.engine.answers["base"] = Answer(hold_head=asyncio.Event())
        _, writer = await s.open(model="base")
        await s.engine.until(lambda: s.engine.active == 1)
        server = [each.transport for each in s.server.connections if isinstance(each, GatewayProtocol)]
        made = await Upstream(Address("127.0.0.1", s.port), PATIENT).get(b"/health")
        client = cast(asyncio.Transport, Connection.__getattribute__(made, "_transport"))
        for transport in (*server, client):
            there = transport.get_extra_info("socket")
            assert there.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        made.abort()
        writer.transport.abort()
        await s.at_rest()


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (200, 200),
        (301, 502),
        (404, 502),
        (422, 422),
        (499, 502),
        (500, 500),
        (503, 503),
        (599, 599),
        (600, 502),
    ],
)
async def test_any_status_of_an_engine_is_answered(tmp_path: Path, status: int, told: int) -> None:
    async with stack(tmp_path) as s:
        s.engine.answers["base"] = Answer(status=status, body=b"{}")
        for _ in range(2):
            answer = await s.chat(model="base")
            assert answer.status_code == told
            assert told in (200, 422) or "error" in answer.json()
        await s.at_rest()


async def test_connection_paused_at_its_answer_s_end_reads_the_next(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        await s.chat()
        [replica] = s.gateway.replicas.ready
        connection = await replica.upstream.exchange(b"/v1/completions", (b'{"model":"base"}',), b"x")
        while await connection.read():
            pass
        connection.pause()  # as for a client that does not take the last piece
        replica.upstream.finish(connection)
        async with asyncio.timeout(5):
            assert (await s.chat()).status_code == 200
        assert s.engine.connections == 1


DATED = b"HTTP/1.1 200 OK\r\ndate: %b\r\ncontent-length: %d\r\ncontent-type: application/json\r\n\r\n%b"


class Said:
    """A connection to an engine that says what a test has it say, one exchange after the other."""

    def __init__(self, *, keeps: bool = True) -> None:
        loop = asyncio.get_running_loop()
        self.connection = Connection(loop, PATIENT, cast(Upstream, object()))
        self.connection.connection_made(Sink())
        self._keeps = keeps

    def exchange(self, *reads: bytes) -> tuple[int, dict[bytes, bytes], bytes, bool, str]:
        """Status, headers, body, whether it may be used again, and how it failed."""
        one = self.connection
        if not self._keeps:
            one._known = None
        one.send(b"", (b"{}",))
        for read in reads:
            one.data_received(read)
        body = one.take()
        error = type(one.error).__name__
        headers = {name: value for name, value in one.headers.items() if name.lower() != b"content-length"}
        return one.status, headers if one.head_complete else {}, body, one.release(), error


class Sink(asyncio.Transport):
    def write(self, data: bytes | bytearray | memoryview) -> None:
        pass

    def abort(self) -> None:
        pass


async def test_answer_whose_head_came_before_is_not_parsed() -> None:
    said = Said()
    said.exchange(DATED % (b"now", 2, b"ok"))
    said.connection._parser = cast(Any, Deaf())
    for body in (b"ok", b"", b"longer than that"):
        status, headers, found, again, _ = said.exchange(DATED % (b"now", len(body), body))
        assert (status, found, again) == (200, body, True)
        assert headers[b"content-type"] == b"application/json"


async def test_when_the_clock_in_it_moves_on_the_next_head_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parsers, "LOOK_EVERY_S", 0.0)
    said = Said()
    for date in (b"now", b"then"):
        said.exchange(DATED % (date, 2, b"ok"))
    parser, said.connection._parser = said.connection._parser, cast(Any, Deaf())
    assert said.exchange(DATED % (b"then", 3, b"yes"))[2:4] == (b"yes", True)
    said.connection._parser = parser
    assert said.exchange(DATED % (b"now", 2, b"no"))[2:4] == (b"no", True)


def answers(seed: int) -> list[list[bytes]]:
    """Reads of several exchanges: answers whole, cut, with more behind them, some no HTTP."""
    chance = random.Random(seed)
    found: list[list[bytes]] = []
    for _ in range(chance.randint(2, 8)):
        body = b"x" * chance.randint(0, 12)
        whole = DATED % (chance.choice([b"now", b"now", b"then"]), len(body), body)
        cut = chance.randint(1, len(whole) - 1)
        found.append(
            chance.choice(
                [
                    *[[whole]] * 6,
                    [whole[:cut], whole[cut:]],
                    [whole + b"\r\n"],
                    [whole + whole],
                    [b"HTTP/1.1 100 Continue\r\n\r\n" + whole],
                    [b"HTTP/1.1 100 Continue\r\n\r\n", whole],
                    [whole.replace(b"200 OK", b"404 No")],
                    [whole.replace(b"length: ", b"length: -")],
                    [whole.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")],
                    [whole.replace(b"content-length", b"Content-Length")],
                ]
            )
        )
    return found


@pytest.mark.parametrize("seed", range(200))
async def test_nobody_can_tell_whether_an_answer_s_head_was_known(seed: int) -> None:
    knows, parses = Said(), Said(keeps=False)
    for reads in answers(seed):
        found = knows.exchange(*reads)
        assert found == parses.exchange(*reads)
        if not found[3]:
            break  # it is not used again
