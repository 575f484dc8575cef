"""A pipeline's way to the engine: the same table, contract, admission and relay as a client's request."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass

import msgspec

from gateway.admission.lobby import Seat
from gateway.admission.quotas.quotas import Part
from gateway.config.document import JsonObject
from gateway.dialects.chat.dialect import CHAT
from gateway.dialects.request_body import Fields, fields_of
from gateway.errors import NOT_JSON, EngineError, InvalidRequest, RequestError
from gateway.http.engine_connection import Connection
from gateway.http.event_stream import MAX_FAULT_BYTES, TokenUsage, data_in
from gateway.metrics.counters import Metrics
from gateway.pipeline.stages.task_calls import Answer, Delta
from gateway.relay.engine_answers import fault_in, read_failure
from gateway.relay.relay import MAX_ANSWER_BYTES, Relay
from gateway.relay.request_record import LOW_PRIORITY, PIPELINE, Exchange
from gateway.relay.shadow.copies import Shadow
from gateway.relay.shadow.copy import Copy
from gateway.routing.table import Route
from gateway.traces.trace import RequestTrace

logger = logging.getLogger("gateway.pipeline.engine_caller")


class _Content(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    message: _Content = msgspec.field(default_factory=_Content)
    delta: _Content = msgspec.field(default_factory=_Content)
    finish_reason: str | None = None


class _Fault(msgspec.Struct):
    message: str = ""
    type: str | None = None
    param: str | None = None
    code: int | str | None = None


class _Completion(msgspec.Struct):
    """Of an answer, or of one event of a stream, what a stage needs."""

    choices: list[_Choice] = msgspec.field(default_factory=list)
    usage: TokenUsage | None = None
    error: _Fault | None = None


_decode = msgspec.json.Decoder(_Completion).decode


@dataclass(slots=True)
class EngineCaller:
    """Runs a stage's task for one client request, whose id all its calls carry."""

    relay: Relay
    metrics: Metrics
    shadow: Shadow
    request_id: bytes
    routes: Mapping[str, Route]
    """One choice between a task's versions for all calls of this request (`Relay.pinned`)."""
    seat: Seat | None = None
    """Which of its calls are let in already."""
    behind: bool = False
    """As `Exchange.behind` of that request."""
    part: Part | None = None
    """Of what that request holds of its key's limits."""
    key: str = ""
    tenant: str = ""
    """Whose turns its calls take, with `key`."""
    trace: RequestTrace | None = None

    async def answer(self, task: str, body: JsonObject) -> Answer:
        """One whole answer. Raises RequestError."""
        route = self.routes[task]
        async with self._call(route, fields_of(body), False) as (exchange, connection, copy):
            text = await connection.whole(MAX_ANSWER_BYTES)
            if copy is not None:
                copy.saw(text, True)
            completion = _decode(text)
            if not completion.choices:
                raise EngineError(f"The engine's answer for '{task}' has no choices.")
            exchange.usage = usage = completion.usage or TokenUsage()
        choice = completion.choices[0]
        return Answer(choice.message.content or "", usage, route.adapter_id or "", choice.finish_reason)

    async def deltas(self, task: str, body: JsonObject) -> AsyncGenerator[Delta, None]:
        """The answer as it is decoded; closing the generator aborts it in the engine. Raises RequestError."""
        route = self.routes[task]
        fields = fields_of(body)
        fields["stream"] = msgspec.Raw(b"true")
        fields["stream_options"] = msgspec.Raw(b'{"include_usage":true}')
        async with self._call(route, fields, True) as (exchange, connection, copy):
            events = exchange.stream = CHAT.events(True)
            while piece := await connection.read():
                piece = events.feed(piece)
                if copy is not None:
                    copy.saw(piece, False)
                for data in data_in(piece):
                    delta = _delta(data, exchange, route)
                    if delta is not None:
                        yield delta
                if events.broken:
                    exchange.broken = True
                    raise _broke_off(exchange, events.fault)
            if copy is not None:
                copy.saw(events.rest(), True)

    @asynccontextmanager
    async def _call(
        self, route: Route, fields: Fields, streamed: bool
    ) -> AsyncIterator[tuple[Exchange, Connection, Copy | None]]:
        """A stage's request at the engine, counted as its task's; leaving early aborts it there.

        Within it what cannot be decoded (`NOT_JSON`) is the engine's fault.
        """
        exchange = Exchange(self.metrics, self.request_id, CHAT, PIPELINE)
        exchange.reservation, exchange.key, exchange.tenant = self.part, self.key, self.tenant
        if self.trace is not None:
            exchange.trace = self.trace.child()
        if self.behind:
            exchange.behind = True
            if self.relay.replicas.priorities:
                CHAT.give_priority(fields, LOW_PRIORITY)
        copy = None
        if self.shadow.candidates and not self.relay.guard.is_unsure:
            # Before the task's contract is in: the candidate is sent what the stage said, under its own.
            copy = self.shadow.choose(exchange, route, fields, 0, streamed)
        CHAT.apply_contract(fields, route)
        seat = self.seat
        turns = seat.turns.get(route.name) if seat is not None else None
        try:
            body = CHAT.encode_body(fields, route, 0)
            waited_from = time.perf_counter()
            # The lobby has let these calls in: they take turns with each other, and wait in no queue.
            async with turns or nullcontext():
                if seat is not None and turns is not None:
                    seat.begins(route.name)
                exchange.queue_s += time.perf_counter() - waited_from
                connection = await self.relay.begin(
                    exchange, route, body, begun=True, let_in=turns is not None
                )
                exchange.engine_s = time.perf_counter() - exchange.sent
                try:
                    if connection.status != 200:
                        raise await self._refusal(exchange, route.name, connection)
                    yield exchange, connection, copy
                    exchange.finished()
                except NOT_JSON as error:
                    raise EngineError(f"The engine's answer is not the JSON it should be: {error}") from error
                finally:
                    self.relay.end(exchange, connection)
        except RequestError as error:
            exchange.failed(error)
            raise
        except BaseException:  # the client left, or another stage failed
            exchange.cancelled()
            raise
        finally:
            if copy is not None:
                copy.over()

    async def _refusal(self, exchange: Exchange, task: str, connection: Connection) -> RequestError:
        """The engine's own refusal with its message; a failure of its in our words."""
        text = await read_failure(connection)
        failure = fault_in(connection, text, exchange)
        if failure is not None:
            return failure
        status, answer = CHAT.refusal(connection.status, text, self.request_id)
        fault = _decode(answer).error or _Fault()
        message = f"Stage task '{task}': {fault.message or 'the engine refused the request.'}"
        code = fault.code if isinstance(fault.code, str) else None
        return InvalidRequest(message, status=status, param=fault.param, code=code)


def _delta(data: bytes, exchange: Exchange, route: Route) -> Delta | None:
    """What an event says, counted; None where that is nothing. Raises EngineError, and one of NOT_JSON."""
    if data == b"[DONE]":  # read on to the answer's end, so that the connection is kept
        return None
    if exchange.first_token_s is None:
        exchange.first_token_s = time.perf_counter() - exchange.arrived
    exchange.events += 1
    completion = _decode(data)
    if completion.error is not None:
        exchange.broken = True
        raise _broke_off(exchange, data)
    usage = completion.usage
    exchange.usage = usage or exchange.usage
    choice = completion.choices[0] if completion.choices else _Choice()
    if not (choice.delta.content or choice.finish_reason or usage):
        return None
    return Delta(choice.delta.content or "", choice.finish_reason, usage, route.adapter_id or "")


def _broke_off(exchange: Exchange, said: bytes) -> EngineError:
    """Its words stay in the log."""
    logger.error("request %s: the engine gave up: %r", exchange.request_id.decode(), said[:MAX_FAULT_BYTES])
    name = exchange.route.name if exchange.route is not None else ""
    return EngineError(f"The engine broke off the answer for '{name}'.")
