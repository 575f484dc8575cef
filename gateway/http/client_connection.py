"""The server's side of a connection, for uvicorn's server in place of its own protocol.

What it has that uvicorn's lacks: absolute deadlines for a request to be received and for a client that takes
nothing, a bound on heads, chunk extensions, trailers and pipelined requests, what RFC 9112 asks of a head
(`strictness`), refusals in the usual envelope, a word to the application when its client leaves (else that
costs a task per request), and requests that are begun without a task. It also does less for each request.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, cast

import httptools
from starlette.types import ASGIApp
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT, FlowControl
from uvicorn.protocols.utils import get_local_addr, get_remote_addr
from uvicorn.server import ServerState

from gateway.config.origins import Cors
from gateway.errors import HeadTooLarge, InvalidRequest, PayloadTooLarge, RequestError
from gateway.http.deadline import ClientDeadline
from gateway.http.descriptors import Descriptors
from gateway.http.drain import Drain
from gateway.http.parsers import BodyOnly, Deaf, SizesFirst, head_before_body, request_parser, why_stopped
from gateway.http.request_cycle import Cycle, Express, are_too_many, last_answer
from gateway.http.request_head import MOST_HEADS, TRIED_AGAIN, HeadReader, KnownHead
from gateway.http.strictness import MAX_HEAD_BYTES, split_target

LINGER_S = 2.0
"""A client that was refused may take so long to end its own side."""


class GatewayProtocol(ClientDeadline, HeadReader, asyncio.Protocol):
    """One client's connection. uvicorn's server makes it, and asks it to shut down."""

    express: Mapping[str, Express] = MappingProxyType({})
    """POST paths that may be served without a task."""
    uploads: Mapping[str, int] = MappingProxyType({})
    """POST paths whose bodies may take as long as they go on coming, and how many bytes they may have."""
    max_body_bytes = 10 * 1024 * 1024
    cors: Cors | None = None
    drain = Drain(lambda fault: None)
    descriptors = Descriptors(0, 0)

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        ClientDeadline.__init__(self, _loop or asyncio.get_event_loop(), config.timeout_keep_alive)
        HeadReader.__init__(self)
        if not config.loaded:
            config.load()
        self.config, self.server_state = config, server_state
        self.scope: dict[str, Any] = {"scheme": "https" if config.is_ssl else "http", "state": app_state}
        self.parser = request_parser(self)
        self.client: tuple[str, int] | None = None
        self._deferred: Cycle | None = None  # one to be begun without a task, whose body is still coming
        self._pipelined: deque[Cycle] = deque()
        self._refusal: RequestError | None = None  # told once all before it is answered
        self._unmoved_bytes, self._refused = 0, False
        self._begins = False  # one has begun in what is being read

    # For uvicorn's server.

    def shutdown(self) -> None:
        """Close, once what was written is taken."""
        self.transport.close()

    @property
    def is_busy(self) -> bool:
        """Whether a request's answer is under way, or not taken yet."""
        running = self._running
        if running is None or running.disconnected:
            return False
        answering = not running.response_complete and running is not self._deferred
        return answering or self.transport.get_write_buffer_size() > 0

    @property
    def is_idle(self) -> bool:
        """Whether it has had an answer, and no further request has begun."""
        cycle = self.cycle
        done = cycle is not None and cycle.response_complete and not cycle.more_body
        return done and not (self._receiving or self._refused or self.transport.is_closing())

    def finish_soon(self) -> None:
        """The answer to what was read last is the connection's last."""
        if self.cycle is not None:
            self.cycle.keep_alive = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name
        self.flow = FlowControl(self.transport)
        self.client = get_remote_addr(self.transport)
        self.scope |= {"server": get_local_addr(self.transport), "client": self.client}
        connections = cast("set[GatewayProtocol]", self.server_state.connections)
        connections.add(self)
        self._set_deadline(self.receive_timeout_s)
        if len(connections) > self.descriptors.most_clients:
            self.descriptors.make_room(connections, self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.server_state.connections.discard(cast(Any, self))
        if self._refused:
            self.descriptors.forget(self)
        self._disarm()
        for cycle in (self._running, self.cycle):
            if cycle is not None and not cycle.response_complete and not cycle.disconnected:
                cycle.left()
        self.flow.resume_writing()  # a task that waits in `drain` is to see that the client has left
        self._pipelined.clear()
        self.parser = cast(Any, Deaf())  # it refers to this object, and this object to it

    def data_received(self, data: bytes) -> None:
        # The commonest first: most requests of a kept connection end in this call (design 142).
        rests, known = not self._receiving, self._known
        if known is not None and (rests or known.awaits is not None) and self._came_again(known, data):
            return
        self._unmoved_bytes += len(data)
        self._read = data if self._url is None else self._read + data
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            self._decline_upgrade(data[offer.args[0] :])
        except httptools.HttpParserError as stopped:
            if self._deferred is not None and not self._deferred.more_body:
                self._start_deferred()  # it is the bytes after it that are wrong
            self._deferred = None
            self.refuse(why_stopped(stopped))
        except PayloadTooLarge as fault:
            self._deferred = None
            self.refuse(fault)
        else:
            if self._unmoved_bytes > MAX_HEAD_BYTES:
                self.refuse(HeadTooLarge())
        if self._url is None:
            self._read = b""  # no head goes on: what lies idle holds nothing of it
        if self._begins:  # in this read; most requests end in it too
            self._begins = False
            # Where writing is paused, or this closes, the deadline is that for the client to take its answer.
            if self._receiving and not (self.flow.write_paused or self.transport.is_closing()):
                self._set_deadline(self.receive_timeout_s)
            if rests and self._deferred is not None:
                self._heads_to_keep = left = self._heads_to_keep - 1
                if left >= 0 or not left % TRIED_AGAIN:
                    self._keep_head(data)
        if self._deferred is not None and not self._refused:
            self._start_deferred()  # not in the parser's call, which would hide what it raises

    def _keep_head(self, read: bytes) -> None:
        """The read brought one whole request, or its head: the next one may have the same."""
        cycle = self._deferred
        if cycle is None or self._pipelined or not cycle.keep_alive or (cycle.more_body and cycle.body):
            return
        head, target = read[: len(read) - len(cycle.body)], (cycle.raw_path, cycle.query, cycle.path)
        serve = self.express[cycle.path].serve
        cycle.known = self._kept_head(head, cycle.headers, target, cycle.added, serve)

    def _came_again(self, known: KnownHead, read: bytes) -> bool:
        """Take a request whose head is known, if that is what was read; the parser need not see it.

        Many clients send the body behind the head, which is kept until then.
        """
        awaited, known.awaits, earlier = known.awaits, None, self.cycle
        fits = not (self._refusal or self.flow.write_paused or self.drain.begun)
        if awaited is not None:
            if fits and len(read) == awaited[1]:
                self._serve_again(known, read)
                return True
            deadline, self._known, self._receiving = self._deadline, None, False
            self.data_received(awaited[0])  # as if it had not been kept
            self._deadline = min(self._deadline, deadline)  # it has come long since
            return False
        # What follows the connection's last request is the parser's to drop.
        over = earlier is not None and earlier.response_complete and earlier.keep_alive
        found = known.split(read) if fits and over else None
        if found is None or (known.unjudged_by is not None and known.unjudged_by.refuses()):
            return False
        length, body = found
        if len(body) == length:
            self._serve_again(known, body)
        elif body or length > HIGH_WATER_LIMIT or self.transport.is_closing():
            return False
        elif not self.express[known.target[2]].lets_in(known.seen_by, length):
            return False  # as any other it is refused before its body is here
        else:
            known.awaits, self._receiving = (read, length), True
            self._set_deadline(self.receive_timeout_s)
        return True

    def _serve_again(self, known: KnownHead, body: bytes) -> None:
        raw_path, query, path = known.target
        self.cycle = self._running = cycle = Cycle(
            self,
            known.headers_with(body),
            self.client,
            "POST",
            raw_path,
            query,
            path,
            body=body,
            more_body=False,
            added=known.added,
            known=known,
        )
        self._unmoved_bytes, self._deadline, self._receiving = 0, math.inf, False
        self._heads_to_keep = MOST_HEADS
        if not known.serve(cycle):
            self.start(cycle)

    def _decline_upgrade(self, rest: bytes) -> None:
        """Read the body of a request that offers another protocol, as Java's client does with each (h2c).

        HTTP/1.1 is the answer. The parser takes the body for the other protocol's and is done, so another
        one reads it.
        """
        cycle = self.cycle
        assert cycle is not None
        cycle.keep_alive = False  # what comes behind that body has no parser
        head = head_before_body(cycle.headers)
        if head:
            cycle.more_body = self._receiving = True
            self._set_deadline(self.receive_timeout_s)
            self.parser = request_parser(BodyOnly(self.on_body, self.on_message_complete))
            self.data_received(head)
            self.data_received(rest)

    def refuse(self, error: RequestError) -> None:
        """Answer and close: in its turn, after the requests before it; within its own answer, only close."""
        if self.transport.is_closing() or self._refused:
            return
        error = self._refusal = self._refusal or error  # the first reason stands
        running = self._running
        in_its_body = running is self.cycle and running is not None and running.more_body
        if running is None or running.response_complete or (in_its_body and not running.response_started):
            known, added = self._known, running.added if in_its_body and running else b""
            if known is not None and known.awaits is not None:
                added = known.added
            self.transport.write(last_answer(error, added))
            self.linger()
            if in_its_body and running is not None:
                running.left()  # whoever waits for its body hears that no more comes
        elif in_its_body:
            self._close()
        else:
            self._receiving = False
            self.parser = cast(Any, Deaf())
            if self._pipelined and self._pipelined[-1].more_body:
                self._pipelined.pop()  # it is the one that is refused

    def linger(self) -> None:
        """No more is answered here, though the client still sends.

        Closed with bytes of the client unread, the kernel sends a reset, and the answer may be lost.
        """
        if self.transport.can_write_eof():
            self.transport.write_eof()
        else:  # TLS has no half of a connection: closing it, what still comes is read and dropped
            self.transport.close()
        self._refused = True
        self._receiving = False
        self.parser = cast(Any, Deaf())
        self._set_deadline(LINGER_S)

    # httptools

    def on_message_begin(self) -> None:
        self._begin_head()
        self._receiving = self._begins = True

    def on_headers_complete(self) -> None:
        self._unmoved_bytes = 0  # a head that has ended is measured by itself
        parser = self.parser
        method, version = parser.get_method(), parser.get_http_version()
        url, self._url = self._url or b"", None
        begun = self._check_head(method, url, version)
        earlier = self.cycle
        raw_path, query, path = split_target(url)
        keep_alive = version == "1.1" and not self.drain.begun and parser.should_keep_alive()
        name, headers, self._headers = method.decode("ascii"), self._headers, []  # trailers are dropped
        cycle = Cycle(self, headers, self.client, name, raw_path, query, path, version, keep_alive)
        self.cycle, cycle.waiting_for_continue = cycle, self._expects_continue
        if self.cors is not None:
            cycle.added = self.cors.lines(path, cycle.headers)
        if earlier is not None and not earlier.response_complete:
            # A pipelined request: its turn comes after the answer before it.
            if are_too_many(self._pipelined):
                self._close()  # `refuse` says nothing then
                raise InvalidRequest("Too many requests are waiting for their turn.")
            self._pipelined.append(cycle)
        elif (
            path in self.express
            and cycle.method == "POST"
            and not cycle.waiting_for_continue  # 100 is said in `Cycle.receive`, by a task
            and not self.flow.write_paused  # a task waits until the client takes bytes
        ):
            self._running = self._deferred = cycle
        else:
            self._uploaded_bytes = 0 if path in self.uploads and cycle.method == "POST" else -1
            self.start(cycle)
        if begun is not None:  # now that the request is there: what its chunks announce is refused as its own
            most_bytes = self.uploads.get(path, self.max_body_bytes)
            self.parser = cast(Any, SizesFirst(parser, most_bytes, begun))

    def on_body(self, body: bytes) -> None:
        self._unmoved_bytes = 0
        cycle = self.cycle
        assert cycle is not None
        if cycle.response_complete:
            return  # answered before its body was here: the rest is dropped
        if self._uploaded_bytes >= 0:
            self._uploaded_bytes += len(body)
        held = cycle.body
        if isinstance(held, bytearray):
            held += body
        else:  # nearly always nothing: a piece that is taken before the next comes is not copied
            cycle.body = bytearray(held) + body if held else body
        if len(cycle.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        elif self._uploaded_bytes >= 0:
            return  # a file is taken in large pieces
        cycle.came()

    def on_message_complete(self) -> None:
        self._unmoved_bytes = 0
        self._uploaded_bytes = -1
        self._receiving = False
        parser: object = self.parser
        if isinstance(parser, SizesFirst):
            self.parser = parser.behind
        cycle = self.cycle
        assert cycle is not None
        cycle.more_body = False
        if not self.flow.write_paused:  # else the deadline is that for taking what is written
            if cycle.response_complete:
                self._set_deadline(self.timeout_keep_alive)
            else:
                self._deadline = math.inf
        if not cycle.response_complete:
            cycle.came()
        elif self.drain.begun:
            self._close()
        if cycle is not self._running:
            self.flow.resume_reading()  # it waits for its turn, and the client before it may leave meanwhile

    # For the requests.

    def answered(self) -> None:
        """A request's answer is complete: the next one's turn."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            self._set_deadline(self.timeout_keep_alive)
            return
        if self.flow.read_paused:
            self.flow.resume_reading()
        if self._refused:
            return
        if self._pipelined:
            self.start(self._pipelined.popleft())
        elif self._refusal is not None:
            self.refuse(self._refusal)
        elif self._receiving and not self._answered_early:  # the next one's head has begun
            self._set_deadline(self.receive_timeout_s)
        else:
            self._set_deadline(self.timeout_keep_alive)

    def _start_deferred(self) -> None:
        """Serve a request that is whole now, without a task if it need not wait, or one that is large."""
        cycle, self._deferred = self._deferred, None
        assert cycle is not None
        if self.drain.begun:
            self.start(cycle)
            return
        express = self.express[cycle.path]
        if cycle.more_body and len(cycle.body) <= HIGH_WATER_LIMIT:
            if cycle.head is not None or not express.refuse(cycle):
                self._deferred = cycle  # the rest of its body is yet to come
            return
        if cycle.more_body or not express.serve(cycle):
            self.start(cycle)

    def start(self, cycle: Cycle) -> None:
        """Serve a request by the application, in a task."""
        self._running = cycle
        cycle.task = task = self.loop.create_task(cycle.run(cast(ASGIApp, self.config.loaded_app)))
        self.server_state.tasks.add(task)  # the loop keeps none alive; the server ends these with itself
        task.add_done_callback(self.server_state.tasks.discard)
