"""One request of a client and its answer, on the server's side."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections.abc import Awaitable, Callable, Collection, Iterable
from http import HTTPStatus
from typing import Any, Protocol

import msgspec
from starlette.types import ASGIApp, Message, Scope
from uvicorn.protocols.http.flow_control import FlowControl

from gateway.errors import RequestError
from gateway.http.request_head import KnownHead
from gateway.structs import changed_often

logger = logging.getLogger("gateway.http.request_cycle")

CLIENT = "gateway.client"
"""The scope's extension under which the application finds its Cycle."""

_PHRASES = {status.value: status.phrase.encode() for status in HTTPStatus}
STATUS_LINES = {
    code: b"HTTP/1.1 %d %b\r\n" % (code, _PHRASES.get(code, b"Unknown")) for code in range(100, 600)
}

MAX_PIPELINED = 128
MAX_PIPELINED_BYTES = 256 * 1024
"""A client that sends more requests than this, or more of their bodies, ahead of their answers is cut off."""

Leave = Callable[[], None]
NOT_MODIFIED = 304
CLOSE = (b"connection", b"close")
RESET = struct.pack("ii", 1, 0)
"""SO_LINGER without time: what is unsent is dropped, and the peer's kernel says so."""


class ServerSide(Protocol):
    """The client's connection, as a request on it needs it (`client_connection.GatewayProtocol`)."""

    transport: asyncio.Transport
    flow: FlowControl
    client: tuple[str, int] | None
    scope: dict[str, Any]
    """What ASGI has of every request on it: `server`, `client`, `scheme` and `state`."""

    def start(self, cycle: Cycle, /) -> None:
        """Serve it in a task."""

    def answered(self) -> None:
        """The answer is out: the next request's turn."""

    def linger(self) -> None:
        """Close once the client, which still sends, has had time to take its answer."""


@changed_often
class Cycle(msgspec.Struct, eq=False):
    """What the protocol has read of a request, and what the application writes.

    It is an ASGI application's `receive` and `send`; without a task it is served by `begin`, `write` and
    `answer`. A struct, since each request makes one with all of this.
    """

    _protocol: ServerSide
    headers: list[tuple[bytes, bytes]]
    peer: tuple[str, int] | None = None
    """Address and port of the client's end."""
    method: str = ""
    raw_path: bytes = b""
    query: bytes = b""
    path: str = ""
    version: str = "1.1"
    keep_alive: bool = True
    waiting_for_continue: bool = False
    body: bytearray | bytes = b""
    """Of the body, what has come and was not taken yet."""
    more_body: bool = True
    added: bytes = b""
    """Header lines that its answer has beside the application's."""
    head: Any = None
    """What `Express.refuse` has read of its head, for `Express.serve`."""
    known: KnownHead | None = None
    """Its head, where an earlier request on this connection had the same, or a later one may."""
    found: object = None
    """What `Express.serve` has found of it, for its task."""
    disconnected: bool = False
    response_started: bool = False
    response_complete: bool = False
    task: asyncio.Task[None] | None = None
    drained: Leave | None = None
    _arrived: asyncio.Event | None = None
    _leave: Leave | None = None
    _held_head: bytes = b""
    _chunked: bool = False
    _unframed: bool = False
    _handed_over: bool = False
    _missing_bytes: int = 0

    # For the protocol.

    def scope(self) -> Scope:
        """The request as ASGI has it."""
        protocol = self._protocol
        return {
            **protocol.scope,
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": self.version,
            "method": self.method,
            "root_path": "",
            "path": self.path,
            "raw_path": self.raw_path,
            "query_string": self.query,
            "headers": self.headers,
            "state": protocol.scope["state"].copy(),
            "extensions": {CLIENT: self},
        }

    def came(self) -> None:
        """More of the request is there, or its end, or the client's."""
        if self._arrived is not None:
            self._arrived.set()

    def left(self) -> None:
        """The client has closed its connection."""
        self.disconnected = True
        self.came()
        leave, self._leave = self._leave, None
        if leave is not None:
            leave()

    async def run(self, app: ASGIApp) -> None:
        """Let the application answer; an answer that it does not bring to its end is broken off."""
        try:
            await app(self.scope(), self.receive, self.send)
        except Exception:
            logger.exception("%s %r failed", self.method, self.path)
        if not self.response_complete:
            self.break_off()

    # For the application.

    def on_leave(self, leave: Leave) -> None:
        """Call `leave` once when the client closes before its answer is complete."""
        self._leave = leave
        if self.disconnected:
            self.left()
        elif self._protocol.flow.read_paused:
            self._protocol.flow.resume_reading()  # what is not read cannot be seen to close

    def on_drained(self, drained: Leave) -> None:
        """Call `drained` whenever the client, after `write_chunk` was False, takes bytes again."""
        self.drained = drained

    def break_off(self) -> None:
        """Close, where an answer is not complete, so that nobody takes what has come for the whole."""
        if self.response_complete or self.disconnected:
            return
        transport = self._protocol.transport
        if self._unframed:
            # Here a plain close is the proper end; a reset is not.
            connection = transport.get_extra_info("socket")
            if connection is not None:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            transport.abort()
        else:
            transport.close()

    def hand_over(self, found: object) -> None:
        """Leave what was found to its task, the whole body with it: `receive` has none any more."""
        self.found = found
        self.body = b""
        self._handed_over = True

    def start_task(self) -> None:
        """Serve it by the application after all."""
        self._protocol.start(self)

    async def receive(self) -> Message:
        """ASGI's: the next part of the body, or the client's leave."""
        protocol = self._protocol
        if self.waiting_for_continue and not (protocol.transport.is_closing() or self.disconnected):
            protocol.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.waiting_for_continue = False
        # An empty body is handed over once too: until then nothing was waited for.
        while self._handed_over and not (self.body or self.disconnected or self.response_complete):
            protocol.flow.resume_reading()
            await self._moved()
        while self.more_body and not (self.body or self.disconnected or self.response_complete):
            protocol.flow.resume_reading()
            await self._moved()
        if self.disconnected or self.response_complete:
            return {"type": "http.disconnect"}
        self._handed_over = not self.more_body
        body, self.body = bytes(self.body), b""
        return {"type": "http.request", "body": body, "more_body": self.more_body}

    def _moved(self) -> Awaitable[object]:
        if self._arrived is None:  # made where it is needed: most requests wait for nothing
            self._arrived = asyncio.Event()
        self._arrived.clear()
        return self._arrived.wait()

    async def send(self, message: Message) -> None:
        """ASGI's: the answer's head, then its body. Returns once the client takes bytes."""
        if self._protocol.flow.write_paused and not self.disconnected:
            await self._protocol.flow.drain()
        if self.disconnected:
            return
        if not self.response_started and message["type"] == "http.response.start":
            self.begin(message["status"], message.get("headers", ()))
        elif (
            self.response_started
            and not self.response_complete
            and message["type"] == "http.response.body"  # a second head would pass for an empty last part
        ):
            self.write(message.get("body", b""), message.get("more_body", False))
        else:
            raise RuntimeError(f"{message['type']} when the answer was begun or complete")

    def begin(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Begin the answer; a `content-length` among its headers frames it. Raises RuntimeError."""
        sent = list(headers)
        length: int | None = None
        for header in reversed(sent):  # where it is, if this gateway made the answer
            if header[0] == b"content-length":
                length = int(header[1])
                sent.remove(header)
                break
        if CLOSE in sent:
            sent.remove(CLOSE)
            self.keep_alive = False
        self.begin_block(status, header_lines(sent), length)

    def begin_block(self, status: int, block: bytes, length: int | None) -> None:
        """Begin the answer with header lines that are ready; without a length it goes out in chunks."""
        self.response_started = True
        self.waiting_for_continue = False
        block = self._with_own(block)
        if length is not None:
            self._missing_bytes = 0 if self.method == "HEAD" else length
            # Held until the body, which comes at once: each write is a system call.
            self._held_head = _framed(status, block, length)
        elif status == NOT_MODIFIED:  # it never has a body, so a chunk would pass for the next answer
            self._held_head = STATUS_LINES[status] + block + b"\r\n"
        else:
            self._unframed = self.version != "1.1"  # its end is the connection's
            self._chunked = not self._unframed
            framing = b"\r\n" if self._unframed else b"transfer-encoding: chunked\r\n\r\n"
            self._protocol.transport.write(STATUS_LINES[status] + block + framing)

    def write_chunk(self, body: bytes) -> bool:
        """Go on with an answer in chunks; False where the client takes no more for now."""
        protocol = self._protocol
        protocol.transport.write(body if self._unframed else b"%x\r\n%b\r\n" % (len(body), body))
        return not protocol.flow.write_paused

    def write(self, body: bytes, more_body: bool) -> None:
        """Go on with the answer, or end it."""
        transport = self._protocol.transport
        if self.method == "HEAD":
            transport.write(self._held_head)
        elif self._unframed:
            if body:
                transport.write(body)
        elif self._chunked:
            end = b"" if more_body else b"0\r\n\r\n"
            if body:
                transport.write(b"%x\r\n%b\r\n%b" % (len(body), body, end))
            elif end:
                transport.write(end)
        else:
            self._missing_bytes -= len(body)
            if self._missing_bytes < 0 or (self._missing_bytes and not more_body):
                raise RuntimeError("the body is not as long as its Content-Length says")
            self._write_whole(self._held_head, body)
            self._held_head = b""
        if not more_body:
            self._ended()

    def answer(self, status: int, block: bytes, body: bytes) -> None:
        """A whole answer at once; `block` are its header lines but that of its length."""
        self.response_started = True
        self._write_whole(_framed(status, self._with_own(block), len(body)), body)
        self._ended()

    def _with_own(self, block: bytes) -> bytes:
        block += self.added
        return block if self.keep_alive else block + b"connection: close\r\n"

    def _write_whole(self, head: bytes, body: bytes) -> None:
        """Joined where that costs less than a second piece."""
        if len(body) < 16384:
            self._protocol.transport.write(head + body)
        else:
            self._protocol.transport.writelines((head, body))

    def _ended(self) -> None:
        self.response_complete = True
        # Both callbacks refer back to this; kept, all of it would stay until the collector comes.
        self.body, self._leave, self.drained = b"", None, None
        if self._arrived is not None:
            self._arrived.set()
        if not self.keep_alive:  # before `answered`, which begins nothing more on a connection that closes
            if self.more_body:
                self._protocol.linger()
            else:
                self._protocol.transport.close()
        self._protocol.answered()


def _framed(status: int, block: bytes, length: int) -> bytes:
    """The head of an answer whose length is known."""
    return b"%b%bcontent-length: %d\r\n\r\n" % (STATUS_LINES[status], block, length)


def header_lines(headers: Collection[tuple[bytes, bytes]]) -> bytes:
    """Headers as they go out. Raises RuntimeError for a line break in one.

    They come from this gateway alone: one look at all of them together is enough.
    """
    block = b"\r\n".join([*map(b": ".join, headers), b""])
    if block.count(b"\r") != len(headers) or block.count(b"\n") != len(headers):
        broken = [name for name, value in headers if not {*b"\r\n"}.isdisjoint(name + value)]
        raise RuntimeError(f"line break in the header {broken[0]!r}")  # a value may be secret
    return block


def header_pairs(block: bytes) -> list[tuple[bytes, bytes]]:
    """Whole header lines as ASGI has them."""
    return [line.partition(b": ")[::2] for line in block.split(b"\r\n")[:-1]]


def client_of(scope: Scope) -> Cycle | None:
    """The request behind an ASGI scope; None under another server."""
    extensions = scope.get("extensions")
    return extensions.get(CLIENT) if extensions else None


def are_too_many(waiting: Collection[Cycle]) -> bool:
    """Whether a client has sent as much ahead of its answers as it may."""
    return len(waiting) == MAX_PIPELINED or sum(len(one.body) for one in waiting) > MAX_PIPELINED_BYTES


class Express(Protocol):
    """Serves requests of one path without a task."""

    def refuse(self, client: Cycle, /) -> bool:
        """Whether it has answered a request whose body is still coming, since its head rules it out."""

    def lets_in(self, head: Any, body_bytes: int, /) -> bool:
        """Whether it is sure not to `refuse` what it has read of a known head, before so long a body."""

    def serve(self, client: Cycle, /) -> bool:
        """Whether it serves a whole request; one that must wait needs a task."""


def last_answer(error: RequestError, added: bytes = b"") -> bytes:
    """A whole answer in the usual envelope, `added` among its headers; the connection ends with it."""
    body = msgspec.json.encode(error.envelope)
    if error.retry_after_s is not None:
        added += b"retry-after: %d\r\n" % error.retry_after_s
    head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
    return STATUS_LINES[error.status] + added + head % len(body) + body
