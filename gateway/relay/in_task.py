"""A request that may have to wait (for a place, a connection, another engine), served in a task."""

from __future__ import annotations

import logging
import time

from starlette.types import Send

from gateway.errors import RequestError, internal_error
from gateway.http.engine_connection import Connection, Segments
from gateway.http.event_stream import EventStream
from gateway.http.request_cycle import header_pairs
from gateway.relay.engine_answers import PASSED, read_failure
from gateway.relay.passage import Passage
from gateway.relay.relay import MAX_ANSWER_BYTES
from gateway.routing.table import Route
from gateway.structs import changed_often

logger = logging.getLogger("gateway.relay.in_task")


@changed_often
class TaskRelay(Passage, eq=False):
    """Awaits what `DirectRelay` is called for."""

    async def run(self, route: Route, body: Segments, send: Send) -> None:
        """Ask the engine and pass its answer on. Raises RequestError only before the first byte went out."""
        exchange = self.exchange
        self.head_sent = exchange.begun
        connection = self.connection = await self.relay.begin(exchange, route, body)
        try:
            block = self.head_came(connection)
            if self.events is not None:
                if block is not None and not self.head_sent:
                    await send({"type": "http.response.start", "status": 200, "headers": header_pairs(block)})
                    self.head_sent = True
                await self._stream(connection, self.events, send)
                return
            passed = connection.status in PASSED
            reading = connection.whole(MAX_ANSWER_BYTES) if passed else read_failure(connection)
            block, answer = self.whole(connection, await reading)
            if self.head_sent:  # a refusal in a stream that has begun
                answer = exchange.dialect.last_event(answer)
            else:
                headers = [*header_pairs(block), (b"content-length", b"%d" % len(answer))]
                await send({"type": "http.response.start", "status": exchange.status, "headers": headers})
            await send({"type": "http.response.body", "body": answer, "more_body": False})
            exchange.finished()
        finally:
            self.give_back()

    async def _stream(self, connection: Connection, events: EventStream, send: Send) -> None:
        """Event by event; an engine that breaks off leaves an error event and a proper end."""
        exchange = self.exchange
        error: RequestError
        try:
            while piece := await connection.read():
                if not events.events:
                    exchange.first_token_s = time.perf_counter() - exchange.arrived
                piece = events.feed(piece)
                exchange.events = events.events
                if piece:
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
            last = self.stream_ended(events)
        except RequestError as failure:
            error = failure
        except Exception:
            logger.exception("request %s: stream broken off", exchange.request_id.decode())
            error = internal_error()
        else:  # not in the `try`: an end that cannot be sent has no second one
            await send({"type": "http.response.body", "body": last, "more_body": False})
            exchange.finished()
            return
        await send({"type": "http.response.body", "body": self.broke_off(error), "more_body": False})
        exchange.failed(error)
