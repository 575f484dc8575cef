"""The way to the engine: HTTP/1.1 on kept connections, one small class on httptools.

A general client costs more than the whole rest of a request (measured: httpx 990 us, aiohttp 329 us,
this 200 us of added latency at one connection), so this one does only what a relay needs. Nothing here
caps how many connections there are; `limits` does that where it can be seen and answered.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass
from typing import cast

import httptools

from gateway.errors import EngineError, GatewayTimeout

HIGH_WATER_BYTES = 256 * 1024
"""Above this much unread answer the engine's socket is not read until the client has taken it."""

MAX_HEADER_BYTES = 64 * 1024
"""Head and trailers of one answer together."""

KEEP_IDLE_S = 4.0
"""vLLM's server closes a connection after 5 s without a request; leaving earlier avoids that race."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Absolute limits of one exchange, in seconds."""

    connect_s: float
    first_byte_s: float
    idle_s: float
    total_s: float


@dataclass(frozen=True, slots=True)
class Address:
    """Where an engine listens: `host` and `port`, or `uds`, the path of a Unix socket."""

    host: str = ""
    port: int = 0
    uds: str | None = None

    def __str__(self) -> str:
        return f"unix:{self.uds}" if self.uds else f"{self.host}:{self.port}"


class Disconnected(EngineError):
    """The connection ended early; `answered` tells whether any byte of an answer had come."""

    def __init__(self, answered: bool) -> None:
        super().__init__(
            "The engine closed the connection in the middle of its answer."
            if answered
            else "The engine closed the connection without an answer."
        )
        self.answered = answered


class Connection(asyncio.Protocol):
    """One connection, one exchange at a time. `Upstream` owns it and decides whether it is used again."""

    def __init__(self, loop: asyncio.AbstractEventLoop, timeouts: Timeouts) -> None:
        self._loop = loop
        self._timeouts = timeouts
        self._transport: asyncio.Transport | None = None
        self._parser: httptools.HttpResponseParser | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._error: EngineError | GatewayTimeout | None = None
        self._pieces: list[bytes] = []
        self._unread_bytes = 0
        self._paused = False
        self._header_bytes = 0
        self._started = 0.0
        self._last_data = 0.0
        self._reusable = False
        self.closed = False
        self.answered = False
        self.complete = False
        self.head_complete = False
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.idle_since = 0.0

    # The exchange, as the relay sees it.

    def send(self, head: bytes, body: bytes) -> None:
        """Begin an exchange. The connection must be idle."""
        assert self._transport is not None
        self._parser = httptools.HttpResponseParser(self)
        self._error = None
        self._header_bytes = 0
        self.answered = self.complete = self.head_complete = False
        self.status = 0
        self.headers = []
        self._started = self._last_data = self._loop.time()
        self._arm()
        if len(body) <= 16384:
            self._transport.write(head + body)
        else:
            self._transport.writelines((head, body))

    async def head(self) -> None:
        """Wait for status and headers. Raises EngineError, GatewayTimeout, Disconnected."""
        while not self.head_complete:
            await self._wait()

    async def read(self) -> bytes:
        """The next bytes of the body, all that are there; empty at its end. Raises as `head` does."""
        while not self._pieces:
            if self.complete:
                return b""
            await self._wait()
        piece = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces.clear()
        self._unread_bytes = 0
        if self._paused and self._transport is not None:
            self._paused = False
            self._last_data = self._loop.time()
            self._transport.resume_reading()
        return piece

    @property
    def unread(self) -> bool:
        """Whether bytes are there that `read` would return at once."""
        return bool(self._pieces)

    def abort(self, error: EngineError | GatewayTimeout | None = None) -> None:
        """Close at once; the engine sees it and aborts the request."""
        self.closed = True
        self._disarm()
        if self._transport is not None:
            self._transport.abort()
        self._fail(error or Disconnected(self.answered))

    def release(self) -> bool:
        """End the exchange; True where the connection may be used again."""
        self._disarm()
        if self.closed or not self.complete or not self._reusable or self._unread_bytes:
            self.abort()
            return False
        self.idle_since = self._loop.time()
        return True

    async def _wait(self) -> None:
        if self._error is not None:
            raise self._error
        if self.closed:
            raise Disconnected(self.answered)
        waiter = self._waiter = self._loop.create_future()
        try:
            await waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _fail(self, error: EngineError | GatewayTimeout) -> None:
        if self._error is None:
            self._error = error
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(self._error)

    # Deadlines: one timer for an exchange, which looks at the clock when it fires and sleeps again.

    def _arm(self) -> None:
        self._timer = self._loop.call_at(self._deadline(), self._check_deadline)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _deadline(self) -> float:
        total = self._started + self._timeouts.total_s
        if self._paused:  # the client is slow, not the engine
            return min(total, self._loop.time() + self._timeouts.idle_s)
        if self.answered:
            return min(total, self._last_data + self._timeouts.idle_s)
        return min(total, self._started + self._timeouts.first_byte_s)

    def _check_deadline(self) -> None:
        deadline = self._deadline()
        if deadline > self._loop.time():
            self._timer = self._loop.call_at(deadline, self._check_deadline)
            return
        waited_s = self._loop.time() - self._started
        self.abort(GatewayTimeout(f"The engine did not answer in time ({waited_s:.0f} s)."))

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name

    def data_received(self, data: bytes) -> None:
        if self._parser is None or self.complete:
            self.abort()  # an engine that speaks unasked cannot be trusted with the next request
            return
        self.answered = True
        self._last_data = self._loop.time()
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.abort(EngineError("The engine's answer is not valid HTTP."))
            return
        if self._unread_bytes > HIGH_WATER_BYTES and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()
        if self._pieces or self.complete or self.head_complete:
            self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self._disarm()
        if not self.complete:
            self._fail(Disconnected(self.answered))

    # httptools

    def on_status(self, status: bytes) -> None:
        self._count_header(len(status))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count_header(len(name) + len(value))
        if not self.head_complete:  # trailers are counted and dropped
            self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        assert self._parser is not None
        self.status = self._parser.get_status_code()
        if self.status < 200:
            return
        self.head_complete = True

    def on_body(self, body: bytes) -> None:
        self._pieces.append(body)
        self._unread_bytes += len(body)

    def on_message_complete(self) -> None:
        assert self._parser is not None
        if self.status < 200:  # an interim answer: the real one follows
            self.headers = []
            return
        self._reusable = self._parser.should_keep_alive()
        self.complete = True

    def _count_header(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > MAX_HEADER_BYTES:
            raise ValueError("head of the answer too large")


class Upstream:
    """Kept connections to one engine."""

    def __init__(self, address: Address, timeouts: Timeouts) -> None:
        self.address = address
        self._timeouts = timeouts
        self._idle: deque[Connection] = deque()
        self._host = (address.host or "localhost").encode()
        self.open_connections = 0
        """Connections with an exchange on them."""

    async def exchange(
        self, method: bytes, path: bytes, body: bytes, extra_headers: tuple[tuple[bytes, bytes], ...] = ()
    ) -> Connection:
        """Send a request and wait for the head of its answer; the caller must give it to `finish`.

        A kept connection that the engine closed without one byte of an answer is a lost race with its
        keep-alive timer: the request goes out once more, on a fresh connection.

        Raises EngineError (502) or GatewayTimeout (504).
        """
        head = self._head(method, path, len(body), extra_headers)
        connection = self._kept()
        if connection is not None:
            try:
                return await self._begin(connection, head, body)
            except Disconnected as error:
                if error.answered:
                    raise
        return await self._begin(await self._connect(), head, body)

    def finish(self, connection: Connection) -> None:
        """Give a connection back after its exchange, whatever came of it."""
        self.open_connections -= 1
        if connection.release():
            self._idle.append(connection)

    def close(self) -> None:
        """Close the idle connections; those in use close as they finish."""
        while self._idle:
            self._idle.pop().abort()

    async def _begin(self, connection: Connection, head: bytes, body: bytes) -> Connection:
        self.open_connections += 1
        try:
            connection.send(head, body)
            await connection.head()
        except BaseException:
            self.finish(connection)
            raise
        return connection

    def _kept(self) -> Connection | None:
        oldest = asyncio.get_running_loop().time() - KEEP_IDLE_S
        while self._idle and (self._idle[0].closed or self._idle[0].idle_since < oldest):
            self._idle.popleft().abort()
        while self._idle:
            connection = self._idle.pop()  # the warmest
            if not connection.closed:
                return connection
        return None

    async def _connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        began = time.monotonic()
        connection = Connection(loop, self._timeouts)
        try:
            async with asyncio.timeout(self._timeouts.connect_s):
                if self.address.uds is not None:
                    await loop.create_unix_connection(lambda: connection, self.address.uds)
                else:
                    await loop.create_connection(lambda: connection, self.address.host, self.address.port)
        except TimeoutError:
            waited_s = time.monotonic() - began
            raise GatewayTimeout(f"The engine could not be reached in {waited_s:.0f} s.") from None
        except OSError as error:
            raise EngineError("The engine cannot be reached.", code="engine_unreachable") from error
        return connection

    def _head(
        self, method: bytes, path: bytes, body_bytes: int, extra: tuple[tuple[bytes, bytes], ...]
    ) -> bytes:
        lines = [method + b" " + path + b" HTTP/1.1", b"host: " + self._host]
        if body_bytes:
            lines += [b"content-type: application/json", b"content-length: %d" % body_bytes]
        lines += [name + b": " + value for name, value in extra]
        lines.append(b"\r\n")
        return b"\r\n".join(lines)
