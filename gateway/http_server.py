"""The server's side of a connection: uvicorn's own protocol, with bounds it lacks and less to do per answer.

Added: absolute deadlines for a request to be received and for idle connections, a bound on heads, chunk
extensions and trailers, refusals in the usual envelope, and a word to the application when its client leaves,
which otherwise costs a task per request.
"""

from __future__ import annotations

import asyncio
import math
import urllib.parse
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

import httptools
import msgspec
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from gateway.errors import GatewayTimeout, HeadTooLarge, InvalidRequest, RequestError

if TYPE_CHECKING:
    from uvicorn._types import ASGIReceiveEvent, ASGISendEvent

MAX_HEAD_BYTES = 64 * 1024
"""More bytes than this that bring neither body nor end are refused: heads, trailers, chunk extensions."""

MAX_HEADERS = 128
LINGER_S = 2.0
"""A client that was refused may take so long to end its own side."""

MAX_PIPELINED = 128
"""A client that sends more requests than this ahead of their answers is cut off."""
LF, CR, QUESTION_MARK, NUMBER_SIGN = b"\n\r?#"
CLIENT = "gateway.client"
"""The scope's extension under which the application finds its Cycle."""

Leave = Callable[[], None]


class Cycle(RequestResponseCycle):
    """One request and its answer. Headers come from this gateway alone, a look for line breaks is enough."""

    leave: Leave | None = None
    drained: Leave | None = None
    start_task: Leave
    task: asyncio.Task[None] | None = None
    held_head = b""

    def on_leave(self, leave: Leave) -> None:
        """Call `leave` once when the client closes before its answer is complete."""
        self.leave = leave
        if self.disconnected:
            self.left()
        else:
            self.flow.resume_reading()  # what is not read cannot be seen to close

    def on_drained(self, drained: Leave) -> None:
        """Call `drained` whenever the client takes bytes again."""
        self.drained = drained

    @property
    def takes_no_more(self) -> bool:
        """Whether the client's buffer is full; `on_drained` tells when it is not."""
        return bool(self.flow.write_paused)

    def left(self) -> None:
        """The client has closed its connection."""
        self.disconnected = True
        self.message_event.set()
        leave, self.leave = self.leave, None
        if leave is not None:
            leave()

    async def receive(self) -> ASGIReceiveEvent:
        if not self.more_body and self.body and not self.disconnected:  # whole, and not taken yet
            self.message_event.clear()
            body, self.body = bytes(self.body), bytearray()
            return {"type": "http.request", "body": body, "more_body": False}
        return await super().receive()

    async def send(self, message: ASGISendEvent) -> None:
        if self.scope["method"] == "HEAD":
            await super().send(message)
            return
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        if not self.response_started:
            if message["type"] != "http.response.start":
                raise RuntimeError(f"an answer cannot begin with {message['type']}")
            self.begin(message["status"], message.get("headers", ()))
            return
        if self.response_complete or message["type"] != "http.response.body":
            raise RuntimeError(f"{message['type']} after the answer was begun or complete")
        self.write(message.get("body", b""), message.get("more_body", False))

    def begin(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Begin the answer."""
        self.response_started = True
        self.waiting_for_100_continue = False
        head = self._head(status, headers)
        if self.chunked_encoding:
            self.transport.write(head)
        else:
            self.held_head = head  # each write is a system call; the body comes at once

    def _head(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
        lines = [STATUS_LINE[status]]
        for name, value in headers:
            if LF in value or CR in value:  # as numbers: a look for bytes raises and drops a TypeError first
                raise RuntimeError(f"line break in the header {name!r}")
            if name == b"content-length":
                self.chunked_encoding = False
                self.expected_content_length = int(value)
            elif name == b"connection" and value == b"close":
                self.keep_alive = False
                continue
            lines += (name, b": ", value, b"\r\n")
        if not self.keep_alive:
            lines.append(b"connection: close\r\n")
        if self.chunked_encoding is None and status not in (204, 304):
            self.chunked_encoding = True
            lines.append(b"transfer-encoding: chunked\r\n")
        lines.append(b"\r\n")
        return b"".join(lines)

    def write(self, body: bytes, more_body: bool) -> None:
        """Go on with the answer, or end it."""
        if self.chunked_encoding:
            end = b"" if more_body else b"0\r\n\r\n"
            if body:
                self.transport.write(b"%x\r\n%b\r\n%b" % (len(body), body, end))
            elif end:
                self.transport.write(end)
        else:
            self.expected_content_length -= len(body)
            if self.expected_content_length < 0 or (self.expected_content_length and not more_body):
                raise RuntimeError("the body is not as long as its Content-Length says")
            if self.held_head:
                self.transport.writelines((self.held_head, body))
                self.held_head = b""
            elif body:
                self.transport.write(body)
        if not more_body:
            self.response_complete = True
            self.leave = self.drained = None
            self.message_event.set()
            if not self.keep_alive:
                self.transport.close()
            self.on_response()


class GatewayProtocol(HttpToolsProtocol):
    """One client's connection."""

    receive_timeout_s = 60.0
    express: Mapping[str, Callable[[Cycle], bool]] = MappingProxyType({})
    """POST paths that may be served without a task; False from one of these means that it needs one."""

    loop: asyncio.AbstractEventLoop
    cycle: Cycle

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._running: Cycle | None = None
        self._deferred: Cycle | None = None
        """A request for `express` that is still coming."""
        self._unmoved_bytes = 0
        self._receiving = False
        self._refusal: RequestError | None = None
        self._refused = False
        self._deadline = math.inf
        self._timer: asyncio.TimerHandle | None = None

    # Deadlines: one timer for a connection, which looks at the clock when it fires and sleeps again.

    def _set_deadline(self, delay_s: float) -> None:
        self._deadline = self.loop.time() + delay_s
        if self._timer is None:
            self._timer = self.loop.call_at(self._deadline, self._check_deadline)
        elif self._timer.when() > self._deadline:
            self._timer.cancel()
            self._timer = self.loop.call_at(self._deadline, self._check_deadline)

    def _check_deadline(self) -> None:
        self._timer = None
        if self._deadline == math.inf:
            return
        if self._deadline > self.loop.time():
            self._timer = self.loop.call_at(self._deadline, self._check_deadline)
        elif self.transport.is_closing() or self.flow.write_paused:
            self.transport.abort()  # a client that takes nothing would keep its place and its answer for good
        elif self._receiving and not self._answered_early:
            self._refuse(
                GatewayTimeout(f"The request was not here within {self.receive_timeout_s:.0f} s.", status=408)
            )
        else:
            self._close()

    def _close(self) -> None:
        """Close once what was written is taken, or the client takes nothing any more."""
        self.transport.close()
        self._set_deadline(self.timeout_keep_alive)

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._set_deadline(self.receive_timeout_s)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._running is not None and not self._running.response_complete:
            self._running.left()
        self.pipeline.clear()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._set_deadline(self.timeout_keep_alive)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._running is not None and self._running.drained is not None:
            self._running.drained()
        if not self._receiving and not self.cycle.response_complete:
            self._deadline = math.inf

    def data_received(self, data: bytes) -> None:
        self._unmoved_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            self._decline_upgrade(data[offer.args[0] :])
        except httptools.HttpParserError:
            if self._deferred is not None and not self._deferred.more_body:
                self._start_deferred()  # it is the bytes after it that are wrong
            self._deferred = None
            self._refuse(self._refusal or InvalidRequest("The request is not valid HTTP."))
        else:
            if self._unmoved_bytes > MAX_HEAD_BYTES:
                self._refuse(HeadTooLarge())
        if self._deferred is not None and not self._refused:
            self._start_deferred()

    def _decline_upgrade(self, rest: bytes) -> None:
        """Read the body of a request that offers another protocol, as Java's client does with each (h2c).

        HTTP/1.1 is the answer. The parser takes the body for the other protocol's and is done, so another
        one reads it.
        """
        self.cycle.keep_alive = False
        framing = [
            b"%b: %b\r\n" % header
            for header in self.headers
            if header[0] in (b"content-length", b"transfer-encoding")
        ]
        if framing:
            self.cycle.more_body = True
            self.cycle.message_event.clear()
            self._receiving = True
            self._set_deadline(self.receive_timeout_s)
            self.parser = httptools.HttpRequestParser(_BodyOnly(self))
            self.data_received(b"POST / HTTP/1.1\r\nconnection: close\r\n" + b"".join(framing) + b"\r\n")
            self.data_received(rest)

    @property
    def _answered_early(self) -> bool:
        """Whether the request that is still coming has had its answer, such as a 401."""
        return self.cycle is not None and self.cycle.response_complete and self.cycle.more_body

    def _refuse(self, error: RequestError) -> None:
        """Answer and close; where an answer is already on its way, only close."""
        if self.transport.is_closing() or self._refused:
            return
        running = self._running
        in_its_body = running is self.cycle and running is not None and running.more_body
        if running is None or running.response_complete or (in_its_body and not running.response_started):
            body = msgspec.json.encode(error.envelope)
            head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
            self.transport.write(STATUS_LINE[error.status] + head % len(body) + body)
            # Closed with bytes of the client unread, the kernel sends a reset, and the answer may be lost.
            self.transport.write_eof()
            self._refused = True
            self._receiving = False
            self.parser = cast(Any, _Deaf())
            if in_its_body and running is not None:
                running.left()
            self._set_deadline(LINGER_S)
        else:
            self._close()

    # httptools

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._unmoved_bytes = 0
        self._receiving = True
        self._set_deadline(self.receive_timeout_s)

    def on_header(self, name: bytes, value: bytes) -> None:
        headers = self.headers
        if len(headers) >= MAX_HEADERS:
            self._refusal = HeadTooLarge()
            raise self._refusal
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        headers.append((name, value))

    def on_headers_complete(self) -> None:
        """As uvicorn's, with a Cycle of our own and without what a gateway has no use for."""
        scope = cast("dict[str, Any]", self.scope)
        http_version = self.parser.get_http_version()
        if http_version != "1.1":
            scope["http_version"] = http_version
        scope["method"] = self.parser.get_method().decode("ascii")
        raw_path, query = self.url, b""
        if not raw_path.startswith(b"/") or QUESTION_MARK in raw_path or NUMBER_SIGN in raw_path:
            parsed = httptools.parse_url(raw_path)
            raw_path, query = parsed.path or b"/", parsed.query or b""
        path = raw_path.decode("ascii")
        scope["path"] = urllib.parse.unquote(path) if "%" in path else path
        scope["raw_path"] = raw_path
        scope["query_string"] = query
        waiting = self.cycle is not None and not self.cycle.response_complete
        self.cycle = Cycle(
            scope=self.scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=[],
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=http_version != "1.0" and self.parser.should_keep_alive(),
            on_response=self.on_response_complete,
        )
        scope["extensions"] = {CLIENT: self.cycle}
        if waiting:  # a pipelined request: its turn comes after the answer before it
            if len(self.pipeline) == MAX_PIPELINED:
                raise InvalidRequest("Too many requests are waiting for their turn.")
            self.pipeline.appendleft((self.cycle, self.app))
        elif scope["method"] == "POST" and path in self.express and not self.expect_100_continue:
            self._running = self._deferred = self.cycle
        else:
            self._start(self.cycle)

    def on_body(self, body: bytes) -> None:
        self._unmoved_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._unmoved_bytes = 0
        self._receiving = False
        if self.cycle.response_complete:  # answered before its body was here: the connection is idle now
            self._set_deadline(self.timeout_keep_alive)
        else:
            self._deadline = math.inf
        super().on_message_complete()

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            self._set_deadline(self.timeout_keep_alive)
            return
        self.flow.resume_reading()
        if self.pipeline:
            cycle, _ = self.pipeline.pop()
            self._start(cast(Cycle, cycle))
        else:
            self._set_deadline(self.timeout_keep_alive)

    def _start_deferred(self) -> None:
        """Serve a request that is whole now, without a task if it need not wait, or one that is large."""
        cycle = self._deferred
        assert cycle is not None
        if cycle.more_body and len(cycle.body) <= HIGH_WATER_LIMIT:
            return
        self._deferred = None
        cycle.start_task = lambda: self._start(cycle)
        if cycle.more_body or not self.express[cycle.scope["path"]](cycle):
            self._start(cycle)

    def _start(self, cycle: Cycle) -> None:
        self._running = cycle
        task = self.loop.create_task(cycle.run_asgi(self.app))
        cycle.task = task
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)


class _Deaf:
    """In a parser's place: what still comes is read and dropped."""

    def feed_data(self, data: bytes) -> None:
        pass


class _BodyOnly:
    """Of what a parser finds, only the body goes to the protocol."""

    def __init__(self, protocol: GatewayProtocol) -> None:
        self.on_body = protocol.on_body
        self.on_message_complete = protocol.on_message_complete


def protocol_with(
    receive_timeout_s: float, express: Mapping[str, Callable[[Cycle], bool]] | None = None
) -> type[GatewayProtocol]:
    """The protocol with its settings, as a class: uvicorn makes the instances."""
    settings = {"receive_timeout_s": receive_timeout_s, "express": express or {}}
    return type("ConfiguredProtocol", (GatewayProtocol,), settings)
