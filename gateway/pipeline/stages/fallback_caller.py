"""A pipeline's calls where a stage's task has a fallback: the engine first, then who answers instead."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing, contextmanager

from gateway.admission.quotas.quotas import Part
from gateway.config.document import JsonObject
from gateway.dialects.chat.answer import choice_of, finish_of, said_in, usage_of, word_of
from gateway.dialects.chat.dialect import CHAT
from gateway.dialects.request_body import fields_of
from gateway.errors import RequestError
from gateway.http.event_stream import TokenUsage
from gateway.metrics.counters import Metrics
from gateway.pipeline.stages.task_calls import Answer, Delta, TaskCaller
from gateway.relay.fallback.fallbacks import Fallbacks, Taken
from gateway.relay.request_record import PIPELINE, Exchange
from gateway.routing.table import Route


class FallbackCaller:
    """Calls `engine`; what that fails with before its first word, a task's fallback may answer."""

    def __init__(
        self,
        engine: TaskCaller,
        fallbacks: Fallbacks,
        metrics: Metrics,
        request_id: bytes,
        routes: Mapping[str, Route],
        part: Part | None = None,
        key: str = "",
    ) -> None:
        """`part` and `key` as `EngineCaller` has them."""
        self._part = part
        self._key = key
        self._engine = engine
        self._fallbacks = fallbacks
        self._metrics = metrics
        self._request_id = request_id
        self._routes = routes

    async def answer(self, task: str, body: JsonObject) -> Answer:
        """One whole answer. Raises RequestError."""
        try:
            return await self._engine.answer(task, body)
        except RequestError as raised:
            error = raised
        with self._taking(error, task, body) as (exchange, taken):
            document = await taken.answer(exchange)
        choice = choice_of(document)
        text, usage = word_of(said_in(choice), "content"), usage_of(document) or TokenUsage()
        return Answer(text, usage, taken.fallback.model, finish_of(choice), fallback=True)

    async def deltas(self, task: str, body: JsonObject) -> AsyncGenerator[Delta, None]:
        """The answer as it comes; closing the generator ends it where it is made. Raises RequestError."""
        said = False
        try:
            async with aclosing(self._engine.deltas(task, body)) as deltas:
                async for delta in deltas:
                    said = True
                    yield delta
                return
        except RequestError as raised:
            if said:
                raise
            error = raised
        with self._taking(error, task, body) as (exchange, taken):
            async with aclosing(taken.chunks()) as chunks:
                async for chunk in chunks:
                    exchange.events += 1
                    usage = usage_of(chunk)
                    exchange.usage = usage or exchange.usage
                    choice = choice_of(chunk)
                    text = word_of(said_in(choice), "content")
                    yield Delta(text, finish_of(choice), usage, taken.fallback.model, fallback=True)

    @contextmanager
    def _taking(self, error: RequestError, task: str, body: JsonObject) -> Iterator[tuple[Exchange, Taken]]:
        """A record of its own for what is asked elsewhere; the engine's has ended with `error`."""
        exchange = Exchange(self._metrics, self._request_id, CHAT, PIPELINE)
        exchange.reservation, exchange.key = self._part, self._key
        begun = False
        try:
            with self._fallbacks.taking(error, exchange, self._routes[task], fields_of(body)) as taken:
                begun = True
                yield exchange, taken
                exchange.finished()
        except RequestError as failure:
            if begun:  # else it was counted where it came from
                exchange.failed(failure)
            raise
        except BaseException:  # the client left, or another stage failed
            exchange.cancelled()
            raise
