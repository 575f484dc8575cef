"""A request that the engine cannot answer, answered by its task's fallback and marked as such."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, replace

import msgspec
from starlette.types import Send

from gateway.config.document import Config, FallbackConfig, FallbackReason, JsonObject
from gateway.dialects.chat.answer import usage_of
from gateway.dialects.chat.from_chat import Rendering
from gateway.dialects.dialect import Dialect
from gateway.dialects.request_body import Fields
from gateway.errors import NOT_JSON, ProviderFailed, RequestError
from gateway.http.request_cycle import header_pairs
from gateway.metrics.counters import Metrics
from gateway.relay.client_side import send_last_event
from gateway.relay.fallback.policy import Unable, question, reason_of
from gateway.relay.fallback.provider import Provider
from gateway.relay.request_record import EVENT_STREAM, FALLBACK, Exchange, HeaderList
from gateway.routing.table import Route

logger = logging.getLogger("gateway.relay.fallback")

_encode = msgspec.json.Encoder().encode


@dataclass(slots=True)
class Taken:
    """One request that the fallback has a place for."""

    provider: Provider
    fallback: FallbackConfig
    reason: FallbackReason
    body: JsonObject
    """The request as the engine would have had it."""
    asked: JsonObject
    """That as a chat."""
    broken: bool = False
    """Its stream ended with an error."""

    async def answer(self, exchange: Exchange) -> JsonObject:
        """The whole answer, as a chat completion. Raises ProviderFailed."""
        document = await self.provider.answer(self.fallback, self.asked)
        exchange.usage = usage_of(document)
        return document

    def chunks(self) -> AsyncGenerator[JsonObject, None]:
        """The answer as it comes, in chunks of such a one. Raises ProviderFailed."""
        return self.provider.chunks(self.fallback, self.asked)


class Fallbacks:
    """One for all tasks. Without any configured it holds nothing and imports nothing."""

    def __init__(self, provider: Provider, metrics: Metrics) -> None:
        self._provider = provider
        self._metrics = metrics
        self._in_flight: Counter[str] = Counter()

    def configure(self, config: Config) -> None:
        """Load LiteLLM beside the event loop where a task needs it, so that no request waits for it."""
        if any(task.fallback is not None and task.fallback.when for task in config.tasks.values()):
            self._provider.start()

    async def stop(self) -> None:
        await self._provider.close()

    async def answer(
        self,
        error: RequestError,
        exchange: Exchange,
        route: Route,
        fields: Fields,
        *,
        streaming: bool,
        usage_wanted: bool,
        send: Send,
    ) -> None:
        """Answer in the engine's place; `fields` are the client's own.

        Raises `error` where the policy does not cover it, or the fallback cannot or did not answer; then its
        message says so, and status and Retry-After stay, since what helps the client is to come again.
        """
        with self.taking(error, exchange, route, fields) as taken:
            conversion = exchange.dialect.conversion
            assert conversion is not None  # else nothing could be asked
            rendering = conversion.rendering(exchange.request_id.decode("latin-1"), taken.body, usage_wanted)
            if streaming:
                await self._stream(exchange, taken, rendering, send)
            else:
                await self._whole(exchange, taken, rendering, send)

    def takes(self, dialect: Dialect, route: Route, fields: Fields) -> bool:
        """Whether a request can be answered here now; `fields` is written to. Raises InvalidRequest."""
        fallback = route.contract.fallback
        if fallback is None or self._in_flight[route.name] >= fallback.max_in_flight:
            return False
        return not isinstance(_asked(dialect, route, fields)[1], Unable)

    @contextmanager
    def taking(
        self, error: RequestError, exchange: Exchange, route: Route, fields: Fields
    ) -> Iterator[Taken]:
        """A place for one request, what is asked, and the count of how it ends. Raises as `answer`."""
        fallback, reason = route.contract.fallback, reason_of(error)
        if fallback is None or reason is None or reason not in fallback.when:
            raise error
        body, asked = _asked(exchange.dialect, route, fields)
        if isinstance(asked, Unable):
            self._count(route, fallback, reason, "refused")
            raise _explained(error, fallback, asked.why)
        if self._in_flight[route.name] >= fallback.max_in_flight:
            self._count(route, fallback, reason, "refused")
            raise _explained(error, fallback, "it has as many requests as it may (max_in_flight)")
        exchange.origin = FALLBACK
        exchange.cold = False
        exchange.replica = ""
        if exchange.trace is not None:
            exchange.trace.left_engine()
        exchange.begin(replace(route, adapter_id=fallback.model, adapter_bytes=fallback.model.encode()))
        exchange.status = 200
        exchange.sent = time.perf_counter()
        self._in_flight[route.name] += 1
        # As long as neither an end nor a failure changes it: the client leaves.
        outcome, taken = "cancelled", Taken(self._provider, fallback, reason, body, asked)
        try:
            yield taken
            outcome = "failed" if taken.broken else "answered"
        except ProviderFailed as failed:
            outcome, exchange.status = "failed", error.status
            logger.warning(
                "request %s: the fallback of '%s' failed: %s (instead of: %s)",
                exchange.request_id.decode(),
                route.name,
                failed.what,
                error.message,
            )
            raise _explained(error, fallback, failed.what) from failed
        finally:
            self._in_flight[route.name] -= 1
            exchange.release()
            self._count(route, fallback, reason, outcome)

    def _count(self, route: Route, fallback: FallbackConfig, reason: str, outcome: str) -> None:
        self._metrics.fallback(route.name, fallback.model, reason, outcome)

    async def _whole(self, exchange: Exchange, taken: Taken, rendering: Rendering, send: Send) -> None:
        document = rendering.whole(await taken.answer(exchange))
        exchange.engine_s = time.perf_counter() - exchange.sent
        body = _encode(document)
        headers = _headers(exchange, taken)
        headers += [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": False})
        exchange.finished()

    async def _stream(self, exchange: Exchange, taken: Taken, rendering: Rendering, send: Send) -> None:
        """Raises ProviderFailed before the first byte alone; afterwards the stream ends with an error."""
        async with aclosing(taken.chunks()) as chunks:
            first = await anext(chunks, None)
            if first is None:
                raise ProviderFailed("its answer was empty")
            exchange.engine_s = time.perf_counter() - exchange.sent
            exchange.first_token_s = time.perf_counter() - exchange.arrived
            headers = [*_headers(exchange, taken), *EVENT_STREAM]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            try:
                await self._pass_on(exchange, first, chunks, rendering, send)
            except ProviderFailed as failed:
                taken.broken = True
                error = RequestError(
                    f"The fallback '{taken.fallback.model}' broke off: {failed.what}.",
                    status=502,
                    kind="engine_error",
                    code="fallback_failed",
                )
                dialect = exchange.dialect
                await send_last_event(send, dialect, dialect.error_body(error, exchange.request_id))
                exchange.failed(error)
                return
        exchange.finished()

    async def _pass_on(
        self,
        exchange: Exchange,
        first: JsonObject,
        rest: AsyncIterator[JsonObject],
        rendering: Rendering,
        send: Send,
    ) -> None:
        chunk: JsonObject | None = first
        while chunk is not None:
            counted = usage_of(chunk)
            if counted is not None and (counted.prompt_tokens or counted.completion_tokens):
                exchange.usage = counted
            exchange.events += 1
            data = rendering.piece(chunk)
            if data:
                await send({"type": "http.response.body", "body": data, "more_body": True})
            chunk = await anext(rest, None)
        await send({"type": "http.response.body", "body": rendering.end(), "more_body": False})


def _asked(dialect: Dialect, route: Route, fields: Fields) -> tuple[JsonObject, JsonObject | Unable]:
    """The request as the engine would have had it, and what the fallback is asked of it, the task's contract
    in both; `fields` is written to. Raises InvalidRequest."""
    dialect.apply_contract(fields, route)
    try:
        body: JsonObject = msgspec.json.decode(b"".join(dialect.encode_body(fields, route, 0)))
    except NOT_JSON:
        # What goes to the engine is passed on undecoded, and is the engine's to refuse.
        return {}, Unable("a value of the request is no JSON that it could be asked with")
    return body, question(dialect, body)


def _headers(exchange: Exchange, taken: Taken) -> HeaderList:
    """An answer's own headers, and in the adapter's and the replica's place who answered and why."""
    own = header_pairs(exchange.header_block())
    own = [one for one in own if one[0] not in (b"x-gateway-adapter", b"x-gateway-replica")]
    return [
        *own,
        (b"x-gateway-fallback", taken.fallback.model.encode()),
        (b"x-gateway-fallback-reason", taken.reason.encode()),
    ]


def _explained(error: RequestError, fallback: FallbackConfig, why: str) -> RequestError:
    """The same error, with what became of the fallback."""
    said = f"{error.message} Its fallback '{fallback.model}' did not answer either: {why}."
    explained = type(error).__new__(type(error), said)  # some classes write their message themselves
    explained.__dict__.update(error.__dict__, message=said)
    return explained
