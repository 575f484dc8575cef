"""An engine for tests of the way to it: a script says what it does with each connection, byte for byte."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

from gateway.http.engine_connection import Address, Timeouts
from gateway.http.engine_pool import Upstream
from tests.fakes.fake_engine import BACKLOG

PATIENT = Timeouts(connect_s=5, first_byte_s=5, idle_s=5, total_s=5)
Script = Callable[["Peer", int], Coroutine[None, None, None]]


class Peer:
    """One connection as the engine has it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def request(self) -> bytes:
        """The next request's body; raises IncompleteReadError where none comes."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
        return await self.reader.readexactly(length)

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()


class Engine:
    """Runs a script on each connection; the script gets the connection's number, from 0."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._tasks: set[asyncio.Task[None]] = set()
        self.connections = 0
        self.gone = 0
        """Connections that the other side has closed, or the script."""

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = cast("asyncio.Task[None]", asyncio.current_task())
        self._tasks.add(task)
        number, self.connections = self.connections, self.connections + 1
        try:
            await self._script(Peer(reader, writer), number)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            self.gone += 1
            writer.transport.abort()

    async def stop(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def engine(
    script: Script, timeouts: Timeouts = PATIENT, uds: Path | None = None
) -> AsyncIterator[tuple[Engine, Upstream]]:
    made = Engine(script)
    if uds is not None:
        server = await asyncio.start_unix_server(made.connected, uds, backlog=BACKLOG)
        address = Address(uds=str(uds))
    else:
        server = await asyncio.start_server(made.connected, "127.0.0.1", 0, backlog=BACKLOG)
        address = Address("127.0.0.1", server.sockets[0].getsockname()[1])
    upstream = Upstream(address, timeouts)
    try:
        async with asyncio.timeout(20):
            yield made, upstream
            assert upstream.open_connections == 0
    finally:
        upstream.close()
        server.close()
        await made.stop()


def says(*pieces: bytes, then_hold: bool = True) -> Script:
    """Answers its first request so, and then waits for the other side to close, or closes."""

    async def script(peer: Peer, number: int) -> None:
        await peer.request()
        for piece in pieces:
            await peer.say(piece)
        if then_hold:
            await peer.reader.read()

    return script


def repeats(start: bytes, again: bytes) -> Script:
    """Answers with `start`, and then with `again` for as long as anybody listens."""

    async def script(peer: Peer, number: int) -> None:
        await peer.request()
        await peer.say(start)
        while True:
            await peer.say(again)

    return script
