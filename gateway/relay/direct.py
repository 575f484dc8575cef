"""A request served without a task of its own, where nothing has to be waited for but the engine.

A place is free and a connection is kept, which under load is nearly always so. Then each step is a call from
the connection that moved: the engine's answer has come on, or the client takes bytes again, or leaves. All
else (a queue, a new connection, a pipeline, a large body, another server) goes by `TaskRelay`. What both
decide stands in `Passage`; the tests run both.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Iterable
from typing import Protocol

from gateway.errors import DeadlineExceeded, EngineError, RequestError, internal_error
from gateway.http.engine_connection import Connection, Disconnected, Segments
from gateway.relay.client_side import error_answer
from gateway.relay.engine_answers import MAX_ERROR_BYTES, PASSED, NothingDone
from gateway.relay.passage import Passage
from gateway.relay.relay import MAX_ANSWER_BYTES
from gateway.routing.table import Route
from gateway.structs import changed_often

logger = logging.getLogger("gateway.relay.direct")


class Client(Protocol):
    """What the own server offers of a request (`request_cycle.Cycle`)."""

    def on_leave(self, leave: Callable[[], None]) -> None: ...

    def on_drained(self, drained: Callable[[], None]) -> None: ...

    def begin(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None: ...

    def write(self, body: bytes, more_body: bool) -> None: ...

    def begin_block(self, status: int, block: bytes, length: int | None) -> None:
        """Begin with header lines that are ready; without a length it goes out in chunks."""

    def answer(self, status: int, block: bytes, body: bytes) -> None:
        """A whole answer at once; `block` are its header lines but that of its length."""

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


@changed_often
class DirectRelay(Passage, eq=False, kw_only=True):
    """One such request, from the engine's first byte to the client's last."""

    client: Client
    _answer: list[bytes] = []
    _answer_bytes: int = 0

    def start(self, route: Route, body: Segments) -> bool:
        """Send it to the engine; False where it has to wait. Raises Unavailable."""
        connection = self.relay.try_begin(self.exchange, route, body)
        if connection is None:
            return False
        self.connection = connection
        connection.listener = self._progress
        # The place is held from here on: a fault is answered, and not raised past it.
        try:
            self.client.on_leave(self._left)
        except Exception:
            self._fault()
        return True

    @_with_last_resort
    def _progress(self) -> None:
        """The connection to the engine has come on, or has failed."""
        connection = self.connection
        if connection is None:
            return
        if connection.error is not None:
            self._broken(connection.error)
        elif connection.head_complete:
            if not self.begun:
                block = self.head_came(connection)
                if block is not None:
                    self.client.on_drained(self._drained)  # before the first byte, which may be one too many
                    self.client.begin_block(200, block, None)
                    self.head_sent = True
                    connection.listener = self._pass_on
            if self.events is not None:
                self._pass_on()
            else:
                self._collect(connection)

    def _pass_on(self) -> None:
        """A stream has come on: this is what each of its chunks costs."""
        try:  # as `_with_last_resort`, without a call more for each piece
            connection, events = self.connection, self.events
            if connection is None or events is None:
                return
            if connection.error is not None:
                self._broken(connection.error)
                return
            piece = connection.take()
            if piece:
                if not events.events:
                    self.exchange.first_token_s = time.perf_counter() - self.exchange.arrived
                piece = events.feed(piece)
                if piece and not self.client.write_chunk(piece) and not connection.complete:
                    connection.pause()
            if connection.complete:
                # `over` first: a fault from here on breaks off, since no second end may follow this one.
                # The place last: whom to let in next is not this client's to wait for.
                last = self.stream_ended(events)
                self.over = True
                self.exchange.finished()
                self.client.write(last, False)
                self.give_back()
        except Exception:
            self._fault()

    @_with_last_resort
    def _drained(self) -> None:
        if self.connection is not None:
            self.connection.resume()

    def _collect(self, connection: Connection) -> None:
        """Gather a whole answer, and pass it on at its end."""
        answer = connection.take()
        if self._answer or not connection.complete:
            self._answer.append(answer)
            self._answer_bytes = size = self._answer_bytes + len(answer)
            if not connection.complete and (size <= MAX_ERROR_BYTES or connection.status in PASSED):
                if size > MAX_ANSWER_BYTES:
                    self._broken(EngineError(f"The engine's answer is larger than {MAX_ANSWER_BYTES} bytes."))
                return
            answer = b"".join(self._answer)
        try:
            block, answer = self.whole(connection, answer)
        except RequestError as fault:
            self._broken(fault)
            return
        self.over = True
        self.exchange.finished()
        self.client.answer(self.exchange.status, block, answer)
        self.give_back()

    def _broken(self, error: RequestError) -> None:
        """The engine failed: an error answer, in a stream an error event and a proper end."""
        connection, exchange = self.connection, self.exchange
        assert connection is not None
        exchange.undone = isinstance(error, NothingDone)
        self.give_back()  # a task that goes on takes a place of its own
        if self._may_go_elsewhere(connection, error):
            if exchange.reservation is not None:
                exchange.reservation.give_back()  # its task makes its own
            self.client.start_task()
            return
        # An engine that has begun to answer is well, and a client's own deadline says nothing of it.
        if not (connection.head_complete or isinstance(error, DeadlineExceeded)):
            self.relay.failed(connection.owner, error, exchange)
        self._fail(error)

    def _may_go_elsewhere(self, connection: Connection, error: RequestError) -> bool:
        """Whether the engine has done nothing for it, and its task can send it once more."""
        if isinstance(error, Disconnected):
            return error.race  # a kept connection was closed as the request went out
        return isinstance(error, NothingDone) and self.relay.lost(self.exchange, connection.owner, error)

    def _fail(self, error: RequestError) -> None:
        """Answer with an error, a stream with its last event."""
        exchange = self.exchange
        self.over = True
        if self.events is not None:
            exchange.events = self.events.events
        exchange.failed(error)
        if self.head_sent:
            self.client.write(self.broke_off(error), False)
            return
        status, headers, body = error_answer(error, exchange.request_id, exchange.dialect)
        self.client.begin(status, headers)
        self.client.write(body, False)

    @_with_last_resort
    def _left(self) -> None:
        if self.connection is not None:
            self.over = True
            if self.events is not None:
                self.exchange.events = self.events.events
            self.exchange.cancelled()
            self.give_back()

    def _fault(self) -> None:
        """A fault of ours, in the `except` that caught it: logged, the place freed, the client answered."""
        exchange = self.exchange
        logger.exception("request %s failed", exchange.request_id.decode())
        try:
            self.give_back()
            if self.over:
                self.client.break_off()
            else:
                self._fail(internal_error())
        except Exception:
            logger.exception("request %s: its failure cannot be answered", exchange.request_id.decode())
            self.client.break_off()
