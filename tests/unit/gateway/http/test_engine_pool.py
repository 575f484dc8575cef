"""Connections to an engine: kept, made anew, and by what means."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.errors import EngineError, GatewayTimeout
from gateway.http.engine_connection import Address, Disconnected
from gateway.http.engine_pool import Upstream
from tests.fakes.scripted_engine import PATIENT, Peer, engine, says
from tests.support.stack import stack
from tests.unit.gateway.http.test_engine_connection import OK, ask, echo

pytestmark = pytest.mark.anyio


async def test_kept_connection_is_used_again() -> None:
    async with engine(echo) as (made, upstream):
        for body in (b"a", b"", b"x" * 100_000):
            assert await ask(upstream, body) == (200, body)
        assert made.connections == 1


async def test_unix_socket(tmp_path: Path) -> None:
    async with engine(echo, uds=tmp_path / "engine.sock") as (_, upstream):
        assert await ask(upstream, b"x") == (200, b"x")
    async with stack(tmp_path, uds=tmp_path / "other.sock") as s:
        assert (await s.chat()).status_code == 200
        assert (await s.chat(stream=True)).text.endswith("data: [DONE]\n\n")
        await s.at_rest()


async def test_no_engine_is_502() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        upstream = Upstream(Address("127.0.0.1", taken.getsockname()[1]), PATIENT)
        with pytest.raises(EngineError) as raised:
            await ask(upstream)
        assert (raised.value.status, raised.value.code) == (502, "engine_unreachable")
        assert upstream.open_connections == 0


async def test_connecting_has_its_own_timeout() -> None:
    """A full backlog drops what comes: nobody refuses, and nobody answers."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        upstream = Upstream(Address("127.0.0.1", full.getsockname()[1]), replace(PATIENT, connect_s=0.05))
        with pytest.raises(GatewayTimeout) as raised:
            await ask(upstream)
        assert raised.value.status == 504
        assert upstream.open_connections == 0
        for filler in fillers:
            filler.close()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
    ],
)
async def test_connection_that_the_engine_will_close_is_not_kept(answer: bytes) -> None:
    async with engine(says(answer)) as (made, upstream):
        for count in (1, 2):
            assert await ask(upstream) == (200, b"ok")
            assert made.connections == count


@pytest.mark.parametrize("answered", [b"", b"H"])
async def test_lost_race_is_asked_once_more_unless_a_byte_came(answered: bytes) -> None:
    requests = []

    async def script(peer: Peer, number: int) -> None:
        requests.append(await peer.request())
        await peer.say(OK)
        requests.append(await peer.request())
        if number == 0:
            await peer.say(answered)
        else:
            await peer.say(OK)

    async with engine(script) as (made, upstream):
        assert await ask(upstream, b"1") == (200, b"ok")
        if answered:
            with pytest.raises(Disconnected):
                await ask(upstream, b"2")
            assert (requests, made.connections) == ([b"1", b"2"], 1)
        else:
            assert await ask(upstream, b"2") == (200, b"ok")
            assert (requests, made.connections) == ([b"1", b"2", b"2"], 2)


async def test_fresh_connection_is_never_tried_again() -> None:
    async def script(peer: Peer, number: int) -> None:
        await peer.request()

    async with engine(script) as (made, upstream):
        with pytest.raises(Disconnected):
            await ask(upstream)
        assert made.connections == 1


async def test_nothing_caps_the_connections() -> None:
    together = asyncio.Barrier(300)

    async def script(peer: Peer, number: int) -> None:
        await peer.request()
        await together.wait()
        await peer.say(OK)
        await peer.reader.read()

    async with engine(script) as (made, upstream):
        answers = await asyncio.gather(*(ask(upstream) for _ in range(300)))
        assert answers == [(200, b"ok")] * 300
        assert made.connections == 300
