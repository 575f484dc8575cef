"""A client that costs little: HTTP/1.1 on kept connections, for a load on one machine with all else."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from dataclasses import dataclass

READ_LIMIT = 1024 * 1024


class BrokenOff(Exception):
    """The connection ended before the answer did."""


@dataclass(frozen=True)
class Answer:
    status: int
    head: bytes
    body: bytes
    took_s: float


class Connections:
    """To one address; as many as there are requests at once."""

    def __init__(self, host: str, port: int) -> None:
        self._address = host, port
        self._idle: deque[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = deque()

    async def ask(self, path: str, body: bytes, key: str, leave_after: bytes = b"") -> Answer | None:
        """The answer; None where the client leaves once `leave_after` has come.

        Raises BrokenOff, TimeoutError.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        reader, writer = self._kept() or await self.connect()
        kept = False
        try:
            writer.write(request(path, body, key))
            head = await reader.readuntil(b"\r\n\r\n")
            status = int(head[9:12])
            lowered = head.lower()
            if leave_after and status == 200:
                await reader.readuntil(leave_after)
                return None
            if b"transfer-encoding: chunked" in lowered:
                answer = await _chunks(reader)
            else:
                length = lowered.partition(b"content-length:")[2].partition(b"\r\n")[0]
                answer = await reader.readexactly(int(length))
            kept = b"connection: close" not in lowered
            return Answer(status, head, answer, loop.time() - began)
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError) as error:
            raise BrokenOff from error
        finally:
            if kept:
                self._idle.append((reader, writer))
            else:
                writer.transport.abort()

    def _kept(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        """One that the server has not closed meanwhile, as it does after 75 s without a request."""
        while self._idle:
            reader, writer = self._idle.pop()
            if not reader.at_eof():
                return reader, writer
            writer.transport.abort()
        return None

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """One of its own. Raises BrokenOff."""
        try:
            return await asyncio.open_connection(*self._address, limit=READ_LIMIT)
        except OSError as error:
            raise BrokenOff from error

    def close(self) -> None:
        while self._idle:
            with suppress(RuntimeError):
                self._idle.pop()[1].transport.abort()


def request(path: str, body: bytes, key: str) -> bytes:
    """As it is sent; a body that is empty makes it a GET."""
    method = "POST" if body else "GET"
    lines = f"{method} {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n"
    framing = f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n" if body else "\r\n"
    return (lines + framing).encode() + body


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    pieces: list[bytes] = []
    while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
        pieces.append(await reader.readexactly(size))
        await reader.readexactly(2)
    await reader.readexactly(2)
    return b"".join(pieces)
