"""One connection to the engine: HTTP/1.1, one exchange at a time, on httptools."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, cast

import httptools

from gateway.errors import DeadlineExceeded, EngineError, GatewayTimeout, RequestError
from gateway.http.parsers import AnswerHead, parts_of

HIGH_WATER_BYTES = 256 * 1024
"""Above this much unread answer the engine's socket is not read until the client has taken it."""

MAX_UNMOVED_BYTES = 64 * 1024
"""More bytes than this that bring neither head, body nor end (headers, chunk extensions, trailers) end it.

A longer head that one read brings whole is let pass, 256 KiB at the most: to measure it would cost each
answer something and save nothing, since by then it is here.
"""

RACE_S = 1.0
"""A kept connection that ends sooner, without a byte, lost a race; later the engine may have run it."""

Segments = Sequence[bytes | memoryview]
"""A body in pieces, sent one after the other without being joined."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Absolute limits of one exchange, in seconds."""

    connect_s: float
    first_byte_s: float
    idle_s: float
    total_s: float
    soonest_s: float = field(init=False)
    """Of those that run from the beginning the shortest."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "soonest_s", min(self.first_byte_s, self.idle_s, self.total_s))


@dataclass(frozen=True, slots=True)
class Address:
    """Where an engine listens: `host` and `port`, or `uds`, the path of a Unix socket."""

    host: str = ""
    port: int = 0
    uds: str | None = None

    def __str__(self) -> str:
        return f"unix:{self.uds}" if self.uds else f"{self.host}:{self.port}"


class Disconnected(EngineError):
    """The connection ended early; `answered` tells whether any byte of an answer had come.

    `race`: it ended as the request went out, so the engine has not run it.
    """

    def __init__(self, answered: bool, race: bool = False) -> None:
        super().__init__(
            "The engine closed the connection in the middle of its answer."
            if answered
            else "The engine closed the connection without an answer."
        )
        self.answered = answered
        self.race = race and not answered


class Unreachable(EngineError):
    """Nothing listens. `raced`: a kept connection took the request just before, and lost it unanswered."""

    code = "engine_unreachable"

    def __init__(self, raced: bool) -> None:
        super().__init__("The engine cannot be reached.")
        self.raced = raced


class ConnectTimeout(GatewayTimeout):
    """No connection in time: nothing was sent."""


class Owner(Protocol):
    """What a connection needs of who keeps it (`engine_pool.Upstream`)."""

    process: str
    """The engine's process that listens there; empty where that is not known."""

    def finish(self, connection: Connection, /) -> None:
        """Take one back after its exchange."""


class Connection(asyncio.Protocol):
    """One connection, one exchange at a time. Its owner decides whether it is used again."""

    def __init__(self, loop: asyncio.AbstractEventLoop, timeouts: Timeouts, owner: Owner) -> None:
        self.owner = owner
        self._loop = loop
        self._timeouts = timeouts
        self._transport: asyncio.Transport | None = None
        self._fields: dict[bytes, bytes] = {}
        self._pieces: list[bytes] = []
        # For the parser, which calls them for each header and each piece: a method of ours would cost more.
        # So dict and list stay the same for good, and are cleared where others would be made.
        self.on_header = self._fields.__setitem__
        self.on_body = self._pieces.append
        self._parser = httptools.HttpResponseParser(self)
        self._known: AnswerHead | None = None
        self._waiter: asyncio.Future[None] | None = None
        self.listener: Callable[[], None] | None = None
        """Called when the answer has come on or the exchange has failed, instead of waking who awaits it."""
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf
        self.error: RequestError | None = None
        """How the exchange failed."""
        self._unread_bytes = 0
        self._paused = False
        self._unmoved_bytes = 0
        self._busy = False
        self._started = 0.0
        self._ends_at = math.inf
        self.last_data = 0.0
        """When it was last read from or written to, by the loop's clock."""
        self._reusable = False
        self.closed = False
        self.answered = False
        self.complete = False
        self.head_complete = False
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        """Of the answer's head, names as they came; the length may be missing, since the body tells it."""

    # The exchange, as the relay sees it.

    def send(self, head: bytes, body: Segments) -> None:
        """Begin an exchange. The connection must be idle."""
        assert self._transport is not None
        self._busy = True
        self._unmoved_bytes = 0
        self.answered = self.complete = self.head_complete = False
        self.status = 0
        self._fields.clear()
        self._started = self.last_data = self._loop.time()
        self._ends_at = math.inf
        deadline = self._started + self._timeouts.soonest_s
        if self._timer_at > deadline:  # `_arm` asks that too: most exchanges save the call
            self._arm(deadline)
        # Joined where that costs less than a second piece, as an answer is (`Cycle._write_whole`).
        if len(body) == 1 and len(body[0]) <= 16384:
            self._transport.write(head + body[0])
        else:
            self._transport.writelines((head, *body))

    def end_in(self, seconds: float) -> None:
        """The client waits no longer for this exchange: it fails then with DeadlineExceeded."""
        self._ends_at = self._loop.time() + seconds
        self._arm(self._ends_at)

    def moved(self) -> asyncio.Future[None]:
        """Done once the answer has come on; then look at `head_complete`.

        Raises EngineError, GatewayTimeout, Disconnected, now or where it is awaited.
        """
        if self.error is not None:
            raise self.error
        if self.closed:
            raise Disconnected(self.answered)
        self._waiter = self._loop.create_future()
        return self._waiter

    async def read(self) -> bytes:
        """The next bytes of the body, all that are there; empty at its end. Raises as `moved` does."""
        while not self._pieces:
            if self.complete:
                return b""
            await self.moved()
        return self.take()

    async def whole(self, most_bytes: int) -> bytes:
        """The rest of the body. Raises EngineError where it is larger, and as `read` does."""
        body = bytearray()
        while piece := await self.read():
            body += piece
            if len(body) > most_bytes:
                raise EngineError(f"The engine's answer is larger than {most_bytes} bytes.")
        return bytes(body)

    def take(self) -> bytes:
        """The bytes of the body that are there; perhaps none."""
        pieces = self._pieces
        piece = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        self._unread_bytes = 0
        if self._paused:
            self.resume()
        return piece

    def pause(self) -> None:
        """Take nothing more from the engine until `resume`: its client is slow."""
        if not self._paused and not self.closed and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read from the engine again after `pause`; its silence is counted from now. Else nothing happens."""
        if self._paused and not self.closed and self._transport is not None:
            self._paused = False
            self.last_data = self._loop.time()
            self._transport.resume_reading()

    def header(self, name: bytes) -> bytes | None:
        """What the answer's head says under a name in lower case; of several the last."""
        if name in self.headers:
            return self.headers[name]
        return next((value for said, value in self.headers.items() if said.lower() == name), None)

    @property
    def descriptor(self) -> int:
        """The kernel's number for it; it must be connected."""
        assert self._transport is not None
        return int(self._transport.get_extra_info("socket").fileno())

    @property
    def busy(self) -> bool:
        """Whether an exchange is under way."""
        return self._busy

    def abort(self, error: RequestError | None = None) -> None:
        """Close at once; the engine sees it and aborts the request."""
        self.closed = True
        self._busy = False
        self._disarm()
        if self._transport is not None:
            self._transport.abort()
        # Last: who hears it gives this connection back, and that must find it closed.
        self._fail(error or Disconnected(self.answered))

    def release(self) -> bool:
        """End the exchange; True where the connection may be used again."""
        self._busy = False
        # What was not read of this answer, here or in the kernel, would be the beginning of the next one.
        if self.closed or not self.complete or not self._reusable or self._pieces:
            self.abort()
            return False
        if self._paused:  # for the last client's sake, not the next one's
            self.resume()
        return True

    def end_after(self) -> None:
        """The answer is complete, and the connection is not used again all the same."""
        self._reusable = False

    def _fail(self, error: RequestError) -> None:
        if self.error is None:
            self.error = error
        if self.listener is not None:
            self.listener()
        elif self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(self.error)

    # Deadlines: one timer for a connection, which looks at the clock when it fires and sleeps again. It is
    # left alone between exchanges: to cancel one and make another costs more than the rest of what they do.

    def _arm(self, deadline: float) -> None:
        if self._timer_at <= deadline:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = deadline
        self._timer = self._loop.call_at(deadline, self._check_deadline)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer, self._timer_at = None, math.inf

    def _deadline(self) -> float:
        total = min(self._started + self._timeouts.total_s, self._ends_at)
        if self._paused:  # the client is slow, not the engine
            return min(total, self._loop.time() + self._timeouts.idle_s)
        if self.answered:
            return min(total, self.last_data + self._timeouts.idle_s)
        return min(total, self._started + self._timeouts.first_byte_s)

    def _check_deadline(self) -> None:
        self._timer, self._timer_at = None, math.inf
        if not self._busy:
            return
        deadline = self._deadline()
        if deadline > self._loop.time():
            # The first byte brings the idle limit, and does not set the timer: look again within that.
            self._arm(min(deadline, self._loop.time() + self._timeouts.idle_s))
            return
        if deadline == self._ends_at:
            self.abort(DeadlineExceeded())
            return
        waited_s = self._loop.time() - self._started
        self.abort(GatewayTimeout(f"The engine did not answer in time ({waited_s:.0f} s)."))

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name

    def data_received(self, data: bytes) -> None:
        if not self._busy or self.complete:
            self.abort()  # an engine that speaks unasked cannot be trusted with the next request
            return
        self.last_data = self._loop.time()
        first, self.answered = not self.answered, True
        # Only in an answer's first read the parser stands between two messages, and can be passed by.
        if not (first and self._came_again(data)):
            self._unmoved_bytes += len(data)
            pieces = len(self._pieces)
            try:
                self._parser.feed_data(data)
            except (httptools.HttpParserError, httptools.HttpParserUpgrade):
                self.abort(EngineError("The engine's answer is not valid HTTP."))
                return
            if len(self._pieces) > pieces:
                self._unmoved_bytes = 0
                self._unread_bytes += len(data)
                if self._unread_bytes > HIGH_WATER_BYTES:
                    self.pause()
            elif self._unmoved_bytes > MAX_UNMOVED_BYTES and not self.complete:
                self.abort(EngineError("The engine's answer does not go on, though it sends."))
                return
            if first and self.complete:
                self._keep_head(data)
        if self._pieces or self.complete or self.head_complete:
            if self.listener is not None:
                self.listener()
            elif self._waiter is not None and not self._waiter.done():
                self._waiter.set_result(None)

    def _came_again(self, read: bytes) -> bool:
        """Take a whole answer whose head is known, if that is what was read; the parser need not see it."""
        known = self._known
        found = known.split(read) if known is not None else None
        if known is None or found is None or found[0] != len(found[1]):
            return False
        self.status, self.headers = 200, known.headers  # no other status is kept
        self.head_complete = self.complete = self._reusable = True
        if found[1]:
            self._pieces.append(found[1])
        return True

    def _keep_head(self, read: bytes) -> None:
        """The read brought one whole answer: within this second the next one has the same head."""
        recent = self._known is not None and self._known.until > self.last_data
        if recent or self.status != 200 or not self._reusable:
            return
        body_bytes = sum(map(len, self._pieces))
        parts = parts_of(read[: len(read) - body_bytes])
        if parts is not None and int(parts[1]) == body_bytes:
            self._known = AnswerHead(parts[0], parts[2], self.headers, self.last_data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self._disarm()
        if not self.complete:
            self._fail(Disconnected(self.answered, race=self._loop.time() - self._started < RACE_S))

    # httptools

    def on_message_begin(self) -> None:
        if self.complete:  # begun here, it would go on with the next exchange's answer
            raise ValueError("more than the answer")

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if not 100 <= status < 600:
            raise ValueError("a status that there is not")
        self.status = status
        if status >= 200:  # interim answers without end would hold the request for good
            self._unmoved_bytes = 0
            self.head_complete = True
            self.headers = self._fields.copy()  # trailers are no part of it

    def on_message_complete(self) -> None:
        if self.status < 200:  # an interim answer: the real one follows
            self._fields.clear()
            return
        self._reusable = self._parser.should_keep_alive()
        self.complete = True
