"""One answer of an engine's on its way to the client: what is known of it, and what follows from that.

Nothing here waits or writes. Two drivers bring what the connection says and put out what is decided:
`direct.DirectRelay`, called by connections, and `in_task.TaskRelay`, which awaits them.
"""

from __future__ import annotations

import logging
import time

import msgspec

from gateway.errors import EngineError, RequestError
from gateway.http.engine_connection import Connection
from gateway.http.event_stream import EventStream
from gateway.http.request_cycle import header_lines
from gateway.relay.engine_answers import fault_in
from gateway.relay.relay import Relay
from gateway.relay.request_record import Exchange
from gateway.structs import changed_often

logger = logging.getLogger("gateway.relay.passage")
JSON = b"application/json"
_JSON_LINE = header_lines([(b"content-type", JSON)])


@changed_often
class Passage(msgspec.Struct, eq=False):
    """Its states: sent (`connection`), begun (`begun`), a stream (`events`), its head out, and over.

    A base class, since an object beside the driver would be a call more for each step.
    """

    relay: Relay
    exchange: Exchange
    usage_wanted: bool
    """A stream's usage event goes to the client too."""
    head_sent: bool = False
    """A stream's head went to the client: what fails now is told in an event, and nothing is retried."""
    connection: Connection | None = None
    """Held, and with it the place, until `give_back`."""
    content_type: bytes = JSON
    begun: bool = False
    """The head of the engine's answer has come."""
    events: EventStream | None = None
    """Set where the answer is a stream."""
    over: bool = False
    """It is counted, and what ends the client's answer was written or is being written."""

    # What the engine has said.

    def head_came(self, connection: Connection) -> bytes | None:
        """The engine's head is there; a stream's header lines for the client, else None until `whole`."""
        self.begun = True
        exchange = self.exchange
        exchange.status = connection.status
        if connection.status != 200:
            return None
        said = connection.header(b"content-type")
        if said and said != self.content_type:  # else it stays the same object, as `_type_line` asks
            self.content_type = said
        if not self.content_type.startswith(b"text/event-stream"):
            return None
        exchange.engine_s = time.perf_counter() - exchange.sent
        self.events = exchange.stream = exchange.dialect.events(self.usage_wanted)
        return exchange.header_block() + self._type_line() + b"cache-control: no-cache\r\n"

    def whole(self, connection: Connection, answer: bytes) -> tuple[bytes, bytes]:
        """An answer that is no stream, for the client: its header lines but the length's, and its body.

        Raises what the client is told in its place.
        """
        exchange = self.exchange
        exchange.engine_s = time.perf_counter() - exchange.sent
        if connection.status == 200:
            exchange.usage = exchange.dialect.usage_of(answer)
        if exchange.usage is None:
            fault = fault_in(connection, answer, exchange)
            if fault is not None:
                raise fault
        if connection.status != 200:
            exchange.status, answer = exchange.refusal(connection.status, answer)
        return exchange.header_block() + self._type_line(), answer

    def _type_line(self) -> bytes:
        if self.content_type is JSON:
            return _JSON_LINE
        return header_lines([(b"content-type", self.content_type)])

    def stream_ended(self, events: EventStream) -> bytes:
        """The last bytes of a stream, where the engine gave up in our words; what was read is counted."""
        exchange = self.exchange
        exchange.events = events.events
        exchange.usage = events.usage
        exchange.broken = events.broken
        if not events.broken:
            return events.rest()
        request_id = exchange.request_id
        logger.error("request %s: the engine gave up: %r", request_id.decode(), events.fault)
        error = EngineError("The engine failed on this request; its log says why.")
        return exchange.dialect.last_event(exchange.dialect.error_body(error, request_id))

    # What failed, and who is told.

    def broke_off(self, error: RequestError) -> bytes:
        """A stream that the client has begun to read ends: its last event."""
        exchange = self.exchange
        logger.warning("request %s: stream broken off: %s", exchange.request_id.decode(), error.message)
        return exchange.dialect.last_event(exchange.dialect.error_body(error, exchange.request_id))

    # The place.

    def give_back(self) -> None:
        """Connection and place, once; an answer that is not complete is aborted in the engine."""
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.listener = None
            self.relay.end(self.exchange, connection)
