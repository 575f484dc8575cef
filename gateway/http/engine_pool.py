"""The way to the engine: HTTP/1.1 on kept connections, on a small class of its own (`engine_connection`).

A general client costs more than the whole rest of a request (measured: httpx 990 us, aiohttp 329 us,
this 200 us of added latency at one connection), so this one does only what a relay needs. Nothing here
caps how many connections there are; `limits` does that where it can be seen and answered.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from weakref import WeakSet

from gateway.errors import RequestError
from gateway.http.descriptors import NONE_LEFT, is_spared, none_left
from gateway.http.engine_connection import (
    Address,
    Connection,
    ConnectTimeout,
    Disconnected,
    Segments,
    Timeouts,
    Unreachable,
)

KEEP_IDLE_S = 4.0
"""vLLM's server closes a connection after 5 s without a request; leaving earlier avoids that race."""


class Upstream:
    """Kept connections to one engine, of the event loop that it is made in."""

    def __init__(self, address: Address, timeouts: Timeouts, process: str = "", key: str = "") -> None:
        """`process` names the engine's process that listens there, for as long as this is used.

        `key` is what it asks for; empty where it asks for none.
        """
        self.address = address
        self.process = process
        self._timeouts = timeouts
        self._loop = asyncio.get_running_loop()
        self._idle: deque[Connection] = deque()
        head = b" HTTP/1.1\r\nhost: %b\r\n" % (address.host or "localhost").encode()
        if key:
            head += b"authorization: Bearer %b\r\n" % key.encode()
        self._post = head + b"content-type: application/json\r\n"
        self._get = head + b"\r\n"
        self._closed = False
        self._made: WeakSet[Connection] = WeakSet()
        """Every connection that there still is, so that one in use costs nothing to be found."""
        self.open_connections = 0
        """Connections with an exchange on them."""

    def exchange(
        self, path: bytes, body: Segments, request_id: bytes, more: bytes = b""
    ) -> Awaitable[Connection]:
        """POST a JSON body and wait for the head of the answer; the caller must give it to `finish`.

        `more` are whole lines of further headers.

        A kept connection that the engine closed without one byte of an answer is a lost race with its
        keep-alive timer: the request goes out once more, on a fresh connection.

        Raises EngineError (502) or GatewayTimeout (504), and Unavailable (503) where no descriptor is left.
        """
        return self._exchange(self._post_head(path, body, request_id, more), body)

    def try_exchange(
        self, path: bytes, body: Segments, request_id: bytes, more: bytes = b""
    ) -> Connection | None:
        """As `exchange`, on a kept connection and without waiting for the answer; None where none is kept."""
        connection = self._kept()
        if connection is None:
            return None
        self.open_connections += 1
        connection.send(self._post_head(path, body, request_id, more), body)
        return connection

    async def get(self, path: bytes) -> Connection:
        """GET a path and wait for the head of the answer, with the duties and errors of `exchange`."""
        return await self._exchange(b"GET " + path + self._get, ())

    async def ask(self, method: bytes, path: bytes, body: bytes) -> Connection:
        """Any method, with a JSON body or an empty one, otherwise as `exchange`."""
        head = method + b" " + path + self._post + b"content-length: %d\r\n\r\n" % len(body)
        return await self._exchange(head, (body,))

    async def _exchange(self, head: bytes, body: Segments) -> Connection:
        kept = connection = self._kept()
        while True:
            self.open_connections += 1  # one that is being made counts: it will have its exchange
            if connection is None:
                try:
                    connection = await self._connect(raced=kept is not None)
                except BaseException:
                    self.open_connections -= 1
                    raise
            try:
                connection.send(head, body)
                while not connection.head_complete:
                    await connection.moved()
                return connection
            except BaseException as error:
                self.finish(connection)
                # A new connection has no keep-alive timer to lose a race with: its engine may have run it.
                if connection is not kept or not isinstance(error, Disconnected) or not error.race:
                    raise
            connection = None

    def _post_head(self, path: bytes, body: Segments, request_id: bytes, more: bytes) -> bytes:
        size = len(body[0]) if len(body) == 1 else sum(map(len, body))
        parts = (path, self._post, size, request_id, more)
        return b"POST %b%bcontent-length: %d\r\nx-request-id: %b\r\n%b\r\n" % parts

    def finish(self, connection: Connection) -> None:
        """Give a connection back after its exchange, whatever came of it."""
        self.open_connections -= 1
        if self._closed:
            connection.abort()
        elif connection.release():
            self._idle.append(connection)

    def break_off(self, fault: Callable[[], RequestError]) -> None:
        """End every exchange under way, each with a fault of its own; the engine aborts the requests."""
        for connection in list(self._made):
            if connection.busy:
                connection.abort(fault())  # its answer's headers are written into it

    def close(self) -> None:
        """Close the idle connections; those in use close as they finish."""
        self._closed = True
        while self._idle:
            self._idle.pop().abort()

    def _kept(self) -> Connection | None:
        idle = self._idle  # in the order in which they were given back
        oldest = self._loop.time() - KEEP_IDLE_S
        while idle and idle[0].last_data < oldest:
            idle.popleft().abort()
        while idle:
            connection = idle.pop()  # the warmest, so that those that are not needed grow old
            if not connection.closed:
                return connection
        return None

    async def _connect(self, raced: bool) -> Connection:
        loop = self._loop
        began = time.monotonic()
        connection = Connection(loop, self._timeouts, self)
        self._made.add(connection)
        try:
            async with asyncio.timeout(self._timeouts.connect_s):
                if self.address.uds is not None:
                    await loop.create_unix_connection(lambda: connection, self.address.uds)
                else:
                    await loop.create_connection(lambda: connection, self.address.host, self.address.port)
        except TimeoutError:
            waited_s = time.monotonic() - began
            raise ConnectTimeout(f"The engine could not be reached in {waited_s:.0f} s.") from None
        except OSError as error:
            if error.errno in NONE_LEFT:
                raise none_left(error.errno) from error
            raise Unreachable(raced) from error
        if is_spared(connection.descriptor):  # by it a client can still be told that there is none
            connection.abort()
            raise none_left()
        return connection
