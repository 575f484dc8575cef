"""A pipeline's answer: whole, or as server-sent events while its stages run."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, nullcontext
from dataclasses import dataclass, field
from operator import attrgetter

import msgspec
from starlette.types import Send

from gateway.admission.byte_budget import ByteBudget
from gateway.admission.lobby import Lobby, Seat
from gateway.admission.turns.fair_turns import Whose, whose_of
from gateway.config.document import JsonObject
from gateway.dialects.chat.as_chat import AsChat
from gateway.dialects.chat.request_parts import CannotAsk
from gateway.dialects.dialect import Dialect
from gateway.dialects.parameters import unsupported
from gateway.dialects.request_body import Fields
from gateway.endpoints.asgi import send_json
from gateway.errors import NOT_JSON, InvalidRequest, PayloadTooLarge, RequestError, Unavailable
from gateway.http.request_cycle import header_pairs
from gateway.metrics.counters import Metrics
from gateway.pipeline.answer import PipelineCompletion
from gateway.pipeline.compile import Fan, Pipeline
from gateway.pipeline.fan_outs import FanOuts
from gateway.pipeline.inputs import check_members, memory_bytes
from gateway.pipeline.run import Done, Piece, PipelineResult, run, stream
from gateway.pipeline.stage_progress import StageProgress
from gateway.pipeline.stages.engine_caller import EngineCaller
from gateway.pipeline.stages.fallback_caller import FallbackCaller
from gateway.pipeline.stages.sampling import cannot_honour, leave_out_tools, take_wishes
from gateway.pipeline.stages.task_calls import TaskCaller
from gateway.pipeline.system import places
from gateway.relay.client_side import send_last_event
from gateway.relay.fallback.fallbacks import Fallbacks
from gateway.relay.relay import Relay
from gateway.relay.request_record import COLD, EVENT_STREAM, Exchange, HeaderList, ignored_header
from gateway.relay.shadow.copies import Shadow
from gateway.routing.table import Route

logger = logging.getLogger("gateway.pipelines")


@dataclass(slots=True)
class PipelineEndpoint:
    """Every pipeline of a configuration, by name."""

    pipelines: Mapping[str, Pipeline]
    """Replaced whole where the configuration changes; a request keeps the one that it began with."""
    relay: Relay
    metrics: Metrics
    shadow: Shadow
    fallbacks: Fallbacks
    lobby: Lobby
    inputs: ByteBudget
    """Memory of what clients have sent, over all pipelines."""
    _fan_outs: FanOuts = field(default_factory=FanOuts, init=False)

    async def answer(
        self,
        exchange: Exchange,
        route: Route,
        fields: Fields,
        streaming: bool,
        sticky: bytes,
        send: Send,
        *,
        strict: bool,
    ) -> None:
        """Run the pipeline of `route`. Raises RequestError only before the first byte went out.

        `strict`: what is harmless is refused. `sticky` chooses between several versions of a stage's task.
        Its own record has no tokens: those stand with the tasks of its stages.
        """
        pipeline = self.pipelines[route.name]
        whose = owner, _ = whose_of(exchange.tenant, exchange.key)
        held_bytes = await self._hold(pipeline, fields, owner, exchange.behind)
        try:
            asked = _document(fields)
            exchange.begin(route)
            chat = _chat_of(exchange, asked, pipeline, strict)
            # Of a copy, since it writes its wish into what it is given.
            usage_wanted = streaming and exchange.dialect.ask_for_usage({**fields})
            written = _Written(exchange, pipeline, asked, usage_wanted)
            request = _Request(exchange, pipeline, chat.document, written, streaming, send)
            try:
                await self._let_in(request, sticky, whose)
            except InvalidRequest as error:
                raise chat.told(error) from None
        finally:
            exchange.release()
            self.inputs.give_back(held_bytes, owner)

    async def _hold(self, pipeline: Pipeline, fields: Fields, owner: str, behind: bool) -> int:
        """Take what the input will need of memory, before anything is made of it.

        Raises PayloadTooLarge (413), Unavailable (503) where others need it; what comes behind waits.
        """
        raw = b"".join(fields.values())  # none is looked into, so that nothing need stand between them
        if len(raw) > pipeline.max_input_bytes:
            raise PayloadTooLarge(
                f"The request has {len(raw)} bytes; '{pipeline.name}' takes at most "
                f"{pipeline.max_input_bytes} (pipelines.{pipeline.name}.max_input_bytes)."
            )
        held_bytes = memory_bytes(raw, check_members(raw, pipeline.name, pipeline.max_input_members))
        if behind:
            await self.inputs.take(held_bytes, owner=owner)
        elif not self.inputs.try_take(held_bytes, owner):
            raise Unavailable(
                "The inputs of other pipelines take all the memory that they may "
                "(gateway.max_pipeline_bytes); ask again.",
                code="overloaded",
                retry_after_s=1,
            )
        return held_bytes

    async def _let_in(self, request: _Request, sticky: bytes, whose: Whose) -> None:
        """With room for all its calls; what comes behind brings its own."""
        exchange, pipeline = request.exchange, request.pipeline
        with self.relay.pinned(pipeline.tasks, sticky) as routes:
            if exchange.behind:
                await self._run(request, routes, None)
                return
            # A call that is refused is what a fallback is for: such a task's are not let in before.
            own = [task for task, each in routes.items() if not each.contract.fallback]
            waited_from = time.perf_counter()
            expected, left_s = self._fan_outs.expected(pipeline, own), exchange.haste()[0]
            async with self.lobby.seat(pipeline.name, expected, whose, left_s) as seat:
                exchange.queue_s += time.perf_counter() - waited_from
                await self._run(request, routes, seat)

    async def _run(self, request: _Request, routes: Mapping[str, Route], seat: Seat | None) -> None:
        exchange, pipeline = request.exchange, request.pipeline
        rest = len(pipeline.fans)

        def on_list(fan: Fan, length: int) -> None:
            nonlocal rest
            self._fan_outs.saw(pipeline, fan, length)
            rest -= 1
            if seat is not None and not rest:
                seat.all_known()

        caller, headers = self._caller(exchange, routes, seat), _headers(exchange, pipeline, routes)
        exchange.status = 200
        if request.streaming:
            told = StageProgress() if exchange.progress else None
            watch = told.saw if told is not None else None
            # Whoever leaves does so in a `send`: the stages end there, not when the generator is collected.
            async with aclosing(
                stream(pipeline, request.chat, caller, on_list=on_list, watch=watch)
            ) as events:
                await _send_stream(request, headers, events, told)
            return
        result = await run(pipeline, request.chat, caller, on_list=on_list)
        await send_json(request.send, request.written.whole(result), exchange.request_id, extra=headers)
        exchange.finished()

    def _caller(self, exchange: Exchange, routes: Mapping[str, Route], seat: Seat | None) -> TaskCaller:
        behind, held = exchange.behind, exchange.reservation
        caller = EngineCaller(
            self.relay,
            self.metrics,
            self.shadow,
            exchange.request_id,
            routes,
            seat,
            behind,
            held.part() if held is not None else None,
            exchange.key,
            exchange.tenant,
            exchange.trace,
        )
        if behind or not [task for task, route in routes.items() if route.contract.fallback]:
            return caller
        return FallbackCaller(caller, self.fallbacks)


@dataclass(frozen=True, slots=True)
class _Request:
    """A checked request of a pipeline, and the way to its client."""

    exchange: Exchange
    pipeline: Pipeline
    chat: JsonObject
    written: _Written
    streaming: bool
    send: Send


class _Written:
    """A pipeline's answer as its client's API writes it."""

    def __init__(self, exchange: Exchange, pipeline: Pipeline, asked: JsonObject, usage_wanted: bool) -> None:
        conversion, request_id = exchange.dialect.conversion, exchange.request_id.decode()
        assert conversion is not None  # else no pipeline runs on it
        self._completion = PipelineCompletion(request_id, int(time.time()), pipeline.name)
        self._rendering = conversion.rendering(request_id, asked, usage_wanted)

    def whole(self, result: PipelineResult) -> JsonObject:
        return self._rendering.whole(self._completion.whole(result))

    def first(self, event: Piece | Done) -> bytes:
        """What a stream begins with, and its first event."""
        return self._rendering.piece(self._completion.first()) + self.event(event)

    def event(self, event: Piece | Done) -> bytes:
        return self._rendering.piece(self._completion.chunk(event))

    def end(self) -> bytes:
        return self._rendering.end()


def _headers(exchange: Exchange, pipeline: Pipeline, routes: Mapping[str, Route]) -> HeaderList:
    adapters = dict.fromkeys(map(attrgetter("adapter_bytes"), routes.values()))
    return [
        (b"x-gateway-task", pipeline.name.encode()),
        (b"x-gateway-adapter", b",".join(adapters)),
        *exchange.dialect.id_headers(exchange.request_id),
        *([COLD] if exchange.cold else []),
        *(header_pairs(exchange.reservation.header_block) if exchange.reservation is not None else ()),
        *ignored_header(exchange.ignored),
    ]


async def _send_stream(
    request: _Request,
    headers: HeaderList,
    events: AsyncIterator[Piece | Done],
    told: StageProgress | None = None,
) -> None:
    """Raises RequestError only before the first event."""
    exchange, written, send = request.exchange, request.written, request.send
    first = await anext(events)  # before the head: what fails until here has a status of its own
    exchange.first_token_s = time.perf_counter() - exchange.arrived
    if not exchange.begun:
        headers = [*headers, *EVENT_STREAM, (b"x-request-id", exchange.request_id)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
    await _go_on(send, written.first(first))
    try:
        async with told.telling(send) if told is not None else nullcontext():
            async for event in events:
                await _go_on(send, written.event(event))
        if told is not None:
            await _go_on(send, told.rest())
    except RequestError as error:
        logger.warning("request %s: pipeline failed midway: %s", exchange.request_id.decode(), error.message)
        dialect = exchange.dialect
        await send_last_event(send, dialect, dialect.error_body(error, exchange.request_id))
        exchange.failed(error)  # counted after the last wait: a client that leaves in one is counted there
    else:
        await send({"type": "http.response.body", "body": written.end(), "more_body": False})
        exchange.finished()


async def _go_on(send: Send, data: bytes) -> None:
    if data:
        await send({"type": "http.response.body", "body": data, "more_body": True})


def _chat_of(exchange: Exchange, asked: JsonObject, pipeline: Pipeline, strict: bool) -> AsChat:
    """The request as a chat; what of it has no effect is named. Raises InvalidRequest."""
    if not strict:
        exchange.ignored += take_wishes(asked)
    leave_out_tools(asked, pipeline.name)
    try:
        chat = exchange.dialect.as_chat(asked)
    except CannotAsk as error:
        raise InvalidRequest(f"'{pipeline.name}' is a pipeline: {error}.", param=error.param) from error
    if pipeline.system == "ignore":
        exchange.ignored += [chat.places[index] for index, _ in places({"messages": chat.messages})]
    return chat


def _document(fields: Fields) -> JsonObject:
    try:
        return dict(zip(fields, map(msgspec.json.decode, fields.values()), strict=True))
    except NOT_JSON as error:
        raise InvalidRequest(f"The body is not valid JSON: {error}") from None


def not_of_a_pipeline(route: Route, dialect: Dialect) -> RequestError:
    return unsupported(
        "model",
        f"'{route.name}' is a pipeline, and its stages write their own prompts: {dialect.path.decode()} "
        "takes one of its tasks, or the base.",
    )


def as_a_pipeline_says(route: Route, fault: InvalidRequest) -> InvalidRequest:
    """What was refused of a request; how an engine could be asked to call its tools helps no pipeline."""
    of_tools = route.kind == "pipeline" and (fault.param or "").startswith("tools")
    return cannot_honour("tools", route.name) if of_tools else fault
