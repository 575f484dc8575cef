"""A stage whose task has a fallback: the engine is asked first, and its first word decides."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import pytest

from gateway.config.document import FallbackConfig, JsonObject
from gateway.errors import EngineError, InvalidRequest, ProviderFailed, RequestError, Unavailable
from gateway.http.event_stream import TokenUsage
from gateway.metrics.counters import Metrics
from gateway.pipeline.stages.fallback_caller import FallbackCaller
from gateway.pipeline.stages.task_calls import Answer, Delta
from gateway.relay.fallback.fallbacks import Fallbacks
from gateway.routing.table import Contract, Route
from gateway.traces.trace import Ended

pytestmark = pytest.mark.anyio
MODEL = "openai/other"
FALLBACK = FallbackConfig.model_validate({"model": MODEL, "when": ["failed"]})
ROUTE = Route("naming", "task", Contract(None, {}, None, fallback=FALLBACK), "naming@b")
BODY: JsonObject = {"messages": [{"role": "user", "content": "cat"}]}
OURS = Answer("ours", TokenUsage(1, 1), "naming@b", "stop")
FULL = Unavailable("Full.", code="overloaded")
GONE = EngineError("The engine is gone.", code="engine_unreachable")


def chunk(text: str, **more: object) -> JsonObject:
    document: Any = {
        "choices": [{"delta": {"content": text}, "finish_reason": more.pop("finish", None)}],
        **more,
    }
    return document  # type: ignore[no-any-return]


class Trace:
    """Of the client's request; notes how those of its calls ended."""

    def __init__(self) -> None:
        self.begun: list[Trace] = []
        self.heard: list[Ended] = []

    def child(self) -> Trace:
        self.begun.append(Trace())
        return self.begun[-1]

    def ended(self, how: Ended) -> None:
        self.heard.append(how)


class Engine:
    """Says its words, then fails if it is told to."""

    def __init__(self, *words: str, error: RequestError | None = None) -> None:
        self._words, self._error = words, error
        self.metrics, self.request_id, self.routes = Metrics.single(), b"r-1", {"naming": ROUTE}
        self.part, self.key, self.tenant, self.trace = None, "", "t", Trace()

    async def answer(self, task: str, body: JsonObject) -> Answer:
        if self._error is not None:
            raise self._error
        return OURS

    async def deltas(self, task: str, body: JsonObject) -> AsyncGenerator[Delta, None]:
        for word in self._words:
            yield Delta(word)
        if self._error is not None:
            raise self._error


class Provider:
    """Who answers instead; notes what it was asked, and whether its stream was ended."""

    def __init__(self, error: ProviderFailed | None = None) -> None:
        self._error = error
        self.asked: list[JsonObject] = []
        self.open = 0

    async def answer(self, fallback: FallbackConfig, asked: JsonObject) -> JsonObject:
        self.asked.append(asked)
        if self._error is not None:
            raise self._error
        message = {"choices": [{"message": {"content": "theirs"}, "finish_reason": "stop"}]}
        return {**message, "usage": {"prompt_tokens": 4, "completion_tokens": 2}}  # type: ignore[dict-item]

    async def chunks(self, fallback: FallbackConfig, asked: JsonObject) -> AsyncGenerator[JsonObject, None]:
        self.asked.append(asked)
        self.open += 1
        try:
            yield chunk("the")
            yield chunk("irs", finish="stop", usage={"prompt_tokens": 4, "completion_tokens": 2})
        finally:
            self.open -= 1


class Caller(FallbackCaller):
    def __init__(self, engine: Engine, provider: Provider | None = None) -> None:
        self.metrics, self.provider = engine.metrics, provider or Provider()
        fallbacks = Fallbacks(self.provider, self.metrics)  # type: ignore[arg-type]
        super().__init__(engine, fallbacks)  # type: ignore[arg-type]

    def outcomes(self) -> list[str]:
        rows = self.metrics.render()[0].decode().splitlines()
        return [row for row in rows if row.startswith("lora_gateway_fallback_total{") and "outcome" in row]


async def test_an_engine_that_answers_is_enough() -> None:
    caller = Caller(Engine("ours"))
    assert await caller.answer("naming", BODY) == OURS
    assert [delta.text async for delta in caller.deltas("naming", BODY)] == ["ours"]
    assert not caller.provider.asked


async def test_an_engine_that_is_gone_is_answered_for_and_marked() -> None:
    caller = Caller(Engine(error=GONE))
    assert await caller.answer("naming", BODY) == Answer(
        "theirs", TokenUsage(4, 2), MODEL, "stop", fallback=True
    )
    assert caller.provider.asked[0]["messages"] == BODY["messages"]
    (counted,) = caller.outcomes()
    assert 'outcome="answered"' in counted


async def test_a_stream_that_never_began_is_answered_for() -> None:
    caller = Caller(Engine(error=GONE))
    deltas = [delta async for delta in caller.deltas("naming", BODY)]
    assert deltas == [
        Delta("the", None, None, MODEL, True),
        Delta("irs", "stop", TokenUsage(4, 2), MODEL, True),
    ]


async def test_after_the_engines_first_word_nobody_else_goes_on() -> None:
    caller = Caller(Engine("ou", error=GONE))
    with pytest.raises(EngineError):
        _ = [delta async for delta in caller.deltas("naming", BODY)]
    assert not caller.provider.asked


@pytest.mark.parametrize("error", [InvalidRequest("No."), FULL])
async def test_what_the_policy_does_not_cover_stays_as_it_is(error: RequestError) -> None:
    caller = Caller(Engine(error=error))
    with pytest.raises(type(error)) as raised:
        await caller.answer("naming", BODY)
    assert raised.value is error
    assert not caller.provider.asked


async def test_where_the_fallback_fails_too_the_engines_error_says_so() -> None:
    caller = Caller(Engine(error=GONE), Provider(ProviderFailed("it is down")))
    with pytest.raises(RequestError, match="it is down") as raised:
        await caller.answer("naming", BODY)
    assert raised.value.status == GONE.status
    (counted,) = caller.outcomes()
    assert 'outcome="failed"' in counted


async def test_a_stream_that_is_not_read_on_ends_where_it_is_made() -> None:
    caller = Caller(Engine(error=GONE))
    async with aclosing(caller.deltas("naming", BODY)) as deltas:
        await anext(deltas)
        assert caller.provider.open == 1
    assert caller.provider.open == 0
    (counted,) = caller.outcomes()
    assert 'outcome="cancelled"' in counted


async def test_what_is_asked_elsewhere_is_a_span_of_its_own() -> None:
    engine = Engine(error=GONE)
    caller = Caller(engine)
    await caller.answer("naming", BODY)
    _ = [delta async for delta in caller.deltas("naming", BODY)]
    for each in engine.trace.begun:
        (how,) = each.heard
        assert (how.model, how.adapter, how.status, how.completion_tokens) == ("naming", MODEL, 200, 2)
        assert how.attributes["tenant"] == "t"
    assert len(engine.trace.begun) == 2


async def test_a_fallback_that_fails_ends_its_span_with_the_error_and_none_is_made_unasked() -> None:
    failed, kept = Engine(error=GONE), Engine(error=FULL)
    for engine in (failed, kept):
        with pytest.raises(RequestError):
            await Caller(engine, Provider(ProviderFailed("down"))).answer("naming", BODY)
    assert [how.error for each in failed.trace.begun for how in each.heard] == [GONE.code]
    assert not kept.trace.begun
