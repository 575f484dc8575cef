"""A pipeline's calls where a stage's task has a fallback: the engine first, then who answers instead."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass

from gateway.config.document import JsonObject
from gateway.dialects.chat.answer import choice_of, finish_of, said_in, usage_of, word_of
from gateway.dialects.chat.dialect import CHAT
from gateway.dialects.request_body import fields_of
from gateway.errors import RequestError
from gateway.http.event_stream import TokenUsage
from gateway.pipeline.stages.engine_caller import EngineCaller
from gateway.pipeline.stages.task_calls import Answer, Delta
from gateway.relay.fallback.fallbacks import Fallbacks, Taken
from gateway.relay.request_record import PIPELINE, Exchange


@dataclass(slots=True)
class FallbackCaller:
    """Calls `engine`; what that fails with before its first word, a task's fallback may answer."""

    engine: EngineCaller
    fallbacks: Fallbacks

    async def answer(self, task: str, body: JsonObject) -> Answer:
        """One whole answer. Raises RequestError."""
        try:
            return await self.engine.answer(task, body)
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
            async with aclosing(self.engine.deltas(task, body)) as deltas:
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
        engine = self.engine
        exchange = Exchange(engine.metrics, engine.request_id, CHAT, PIPELINE)
        exchange.reservation, exchange.key, exchange.tenant = engine.part, engine.key, engine.tenant
        begun = False
        try:
            with self.fallbacks.taking(error, exchange, engine.routes[task], fields_of(body)) as taken:
                begun = True
                if engine.trace is not None:
                    exchange.trace = engine.trace.child()
                yield exchange, taken
                exchange.finished()
        except RequestError as failure:
            if begun:  # else it was counted where it came from
                exchange.failed(failure)
            raise
        except BaseException:  # the client left, or another stage failed
            exchange.cancelled()
            raise
