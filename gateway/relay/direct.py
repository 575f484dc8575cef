"""A request served without a task of its own, where nothing has to be waited for but the engine.

A place is free and a connection is kept, which under load is nearly always so. Then each step is a call from
the connection that moved: the engine's answer has come on, or the client takes bytes again, or leaves. All
else (a queue, a new connection, a pipeline, a large body, another server) goes the way of `Relay.forward`,
which this must equal in all that a client can see; the tests run both.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Iterable
from typing import Protocol

from gateway.errors import EngineError, RequestError, internal_error
from gateway.http.engine_connection import Connection, Disconnected, Segments
from gateway.http.event_stream import EventStream
from gateway.relay.client_side import error_answer
from gateway.relay.engine_answers import MAX_ERROR_BYTES, PASSED, AdapterLost, fault_in
from gateway.relay.relay import MAX_ANSWER_BYTES, Relay
from gateway.relay.request_record import Exchange, HeaderList
from gateway.routing.table import Route

logger = logging.getLogger("gateway.relay.direct")


class Client(Protocol):
    """What the own server offers of a request (`request_cycle.Cycle`)."""

    def on_leave(self, leave: Callable[[], None]) -> None: ...

    def on_drained(self, drained: Callable[[], None]) -> None: ...

    def begin(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None: ...

    def write(self, body: bytes, more_body: bool) -> None: ...

    def write_chunk(self, body: bytes) -> bool:
        """Go on with an answer in chunks; False where the client takes no more for now."""

    def start_task(self) -> None:
        """Serve it the general way after all."""

    def break_off(self) -> None:
        """Close the connection of an answer that is not complete."""


def _with_last_resort(step: Callable[[DirectRelay], None]) -> Callable[[DirectRelay], None]:
    """For what connections call: nobody awaits it, so a fault that left it would leave the client waiting."""

    @functools.wraps(step)
    def guarded(self: DirectRelay) -> None:
        try:
            step(self)
        except Exception:
            self._fault()

    return guarded


class DirectRelay:
    """One such request, from the engine's first byte to the client's last."""

    __slots__ = (
        "_answer",
        "_answer_bytes",
        "_begun",
        "_client",
        "_connection",
        "_content_type",
        "_events",
        "_exchange",
        "_head_sent",
        "_over",
        "_relay",
        "_usage_wanted",
    )

    def __init__(self, relay: Relay, exchange: Exchange, client: Client, usage_wanted: bool) -> None:
        self._relay = relay
        self._exchange = exchange
        self._client = client
        self._usage_wanted = usage_wanted
        self._connection: Connection | None = None
        self._content_type = b"application/json"
        self._begun = False
        self._events: EventStream | None = None
        self._head_sent = False
        """A stream's head went out."""
        self._over = False
        """It is counted, and what ends its answer was written or is being written."""
        self._answer: list[bytes] = []
        self._answer_bytes = 0

    def start(self, route: Route, body: Segments) -> bool:
        """Send it to the engine; False where it has to wait. Raises Unavailable."""
        connection = self._relay.try_begin(self._exchange, route, body)
        if connection is None:
            return False
        self._connection = connection
        connection.listener = self._progress
        try:
            self._client.on_leave(self._left)
        except Exception:
            self._fault()
        return True

    @_with_last_resort
    def _progress(self) -> None:
        """The connection to the engine has come on, or has failed."""
        connection = self._connection
        if connection is None:
            return
        if connection.error is not None:
            self._broken(connection.error)
        elif connection.head_complete:
            if not self._begun:
                self._begin(connection)
            if self._events is not None:
                self._pass_on()
            else:
                self._collect(connection)

    def _begin(self, connection: Connection) -> None:
        self._begun = True
        exchange = self._exchange
        exchange.engine_s = time.perf_counter() - exchange.sent
        exchange.status = connection.status
        if connection.status != 200:
            return
        for name, value in connection.headers:
            if name == b"content-type":
                self._content_type = value
        if self._content_type.startswith(b"text/event-stream"):
            self._events = exchange.dialect.events(self._usage_wanted)
            self._client.on_drained(self._drained)
            headers = self._headers()
            headers.append((b"cache-control", b"no-cache"))
            self._client.begin(connection.status, headers)
            self._head_sent = True
            connection.listener = self._pass_on

    def _headers(self) -> HeaderList:
        headers = self._exchange.headers()
        headers.append((b"content-type", self._content_type))
        return headers

    @_with_last_resort
    def _pass_on(self) -> None:
        """A stream has come on: this is what each of its chunks costs."""
        connection, events = self._connection, self._events
        if connection is None or events is None:
            return
        if connection.error is not None:
            self._broken(connection.error)
            return
        piece = connection.take()
        if piece:
            if not events.events:
                self._exchange.first_token_s = time.perf_counter() - self._exchange.arrived
            piece = events.feed(piece)
            if piece and not self._client.write_chunk(piece) and not connection.complete:
                connection.pause()
        if connection.complete:
            exchange = self._exchange
            exchange.events = events.events
            exchange.usage = events.usage
            exchange.broken = events.broken
            self._finish(connection, events.rest())

    @_with_last_resort
    def _drained(self) -> None:
        if self._connection is not None:
            self._connection.resume()

    def _collect(self, connection: Connection) -> None:
        """Gather a whole answer, and pass it on at its end."""
        piece = connection.take()
        if piece:
            self._answer.append(piece)
            self._answer_bytes += len(piece)
        exchange = self._exchange
        cut = self._answer_bytes > MAX_ERROR_BYTES and connection.status not in PASSED
        if connection.complete or cut:
            answer = piece if len(self._answer) == 1 else b"".join(self._answer)
            exchange.engine_s = time.perf_counter() - exchange.sent
            if connection.status == 200:
                exchange.usage = exchange.dialect.usage_of(answer)
            if exchange.usage is None:
                fault = fault_in(connection, answer, exchange)
                if fault is not None:
                    self._broken(fault)
                    return
            if connection.status != 200:
                exchange.status, answer = exchange.refusal(connection.status, answer)
            headers = self._headers()
            headers.append((b"content-length", b"%d" % len(answer)))
            self._client.begin(exchange.status, headers)
            self._finish(connection, answer)
        elif self._answer_bytes > MAX_ANSWER_BYTES:
            self._broken(EngineError(f"The engine's answer is larger than {MAX_ANSWER_BYTES} bytes."))

    def _finish(self, connection: Connection, last: bytes) -> None:
        self._over = True
        self._exchange.finished()
        self._client.write(last, False)
        self._release(connection)

    def _release(self, connection: Connection) -> None:
        self._connection = None
        connection.listener = None
        self._relay.end(self._exchange, connection)

    def _broken(self, error: RequestError) -> None:
        """The engine failed: an error answer, in a stream an error event and a proper end."""
        connection = self._connection
        assert connection is not None
        exchange = self._exchange
        self._release(connection)
        if isinstance(error, Disconnected) and error.race:
            # The kept connection was closed as the request went out, so the engine has not seen it.
            self._client.start_task()
            return
        if isinstance(error, AdapterLost) and self._relay.lost(exchange, connection.owner, error):
            self._client.start_task()  # the engine has done nothing, and another one has the adapter
            return
        if not connection.head_complete:
            self._relay.failed(connection.owner, error, exchange)
        if self._head_sent:
            logger.warning("request %s: stream broken off: %s", exchange.request_id.decode(), error.message)
        self._fail(error)

    def _fail(self, error: RequestError) -> None:
        """Answer with an error, a stream with its last event."""
        exchange = self._exchange
        self._over = True
        exchange.failed(error)
        if not self._head_sent:
            status, headers, body = error_answer(error, exchange.request_id, exchange.dialect)
            self._client.begin(status, headers)
            self._client.write(body, False)
        else:
            dialect = exchange.dialect
            self._client.write(dialect.last_event(dialect.error_body(error, exchange.request_id)), False)

    @_with_last_resort
    def _left(self) -> None:
        if self._connection is not None:
            self._over = True
            if self._events is not None:
                self._exchange.events = self._events.events
            self._exchange.cancelled()
            self._release(self._connection)

    def _fault(self) -> None:
        """A fault of ours, in the `except` that caught it: logged, the place freed, the client answered."""
        exchange = self._exchange
        logger.exception("request %s failed", exchange.request_id.decode())
        try:
            if self._connection is not None:
                self._release(self._connection)
            if self._over:
                self._client.break_off()
            else:
                self._fail(internal_error())
        except Exception:
            logger.exception("request %s: its failure cannot be answered", exchange.request_id.decode())
            self._client.break_off()
