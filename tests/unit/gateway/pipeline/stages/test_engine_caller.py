"""A stage's calls: what the engine is asked, what is made of its answer, and that all is given back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from types import MappingProxyType, SimpleNamespace
from typing import Any

import pytest

from gateway.config.document import JsonObject
from gateway.errors import EngineError, InvalidRequest
from gateway.http.engine_connection import Connection as EngineConnection
from gateway.http.event_stream import TokenUsage
from gateway.metrics.counters import Metrics
from gateway.pipeline.stages.engine_caller import EngineCaller
from gateway.pipeline.stages.task_calls import Answer, Delta
from gateway.relay.request_record import Exchange
from gateway.routing.table import Contract, Route

pytestmark = pytest.mark.anyio
NAMING = "naming@bbbbbbbbbbbb"
USAGE = {"prompt_tokens": 5, "completion_tokens": 2}


def event(**members: object) -> bytes:
    return b"data: " + json.dumps(members).encode() + b"\n\n"


def piece(text: str, finish_reason: str | None = None) -> bytes:
    return event(choices=[{"delta": {"content": text}, "finish_reason": finish_reason}])


class Connection:
    """An answer in pieces."""

    headers: Mapping[bytes, bytes] = MappingProxyType({})
    error = None
    owner = "its engine"

    def __init__(self, *pieces: bytes, status: int = 200) -> None:
        self.status = status
        self._pieces = list(pieces)

    whole = EngineConnection.whole

    async def read(self) -> bytes:
        return self._pieces.pop(0) if self._pieces else b""


class Relay:
    """Notes what was sent, and what was let in before."""

    def __init__(self, connection: Connection, *, priorities: bool = False) -> None:
        self._connection = connection
        self.guard = SimpleNamespace(is_unsure=False)
        self.replicas = SimpleNamespace(priorities=priorities)
        self.bodies: list[Any] = []
        self.let_in: list[bool] = []
        self.exchanges: list[Exchange] = []
        self.ended = 0

    async def begin(
        self, exchange: Exchange, route: Route, body: Sequence[bytes], *, begun: bool, let_in: bool
    ) -> Connection:
        assert begun
        exchange.begin(route)
        self.exchanges.append(exchange)
        self.bodies.append(json.loads(b"".join(bytes(one) for one in body)))
        self.let_in.append(let_in)
        exchange.status = self._connection.status
        return self._connection

    def end(self, exchange: Exchange, connection: Connection) -> None:
        self.ended += 1


class Copy:
    """What a candidate's copy hears of the answer."""

    def __init__(self) -> None:
        self.heard: list[tuple[bytes, bool]] = []
        self.ended = 0

    def saw(self, piece: bytes, last: bool) -> None:
        self.heard.append((piece, last))

    def over(self) -> None:
        self.ended += 1


class Seat:
    """Covers one task, and counts its turns."""

    def __init__(self) -> None:
        self.turns = {"naming": asyncio.Semaphore(1)}
        self.begun = 0

    def begins(self, task: str) -> None:
        assert self.turns[task].locked()
        self.begun += 1


def caller(relay: Relay, copy: Copy | None = None, **options: Any) -> EngineCaller:
    candidates = {} if copy is None else {"naming": "its candidate"}
    shadow = SimpleNamespace(candidates=candidates, choose=lambda *_: copy)
    route = Route("naming", "task", Contract(None, {}, None), NAMING)
    return EngineCaller(
        relay,  # type: ignore[arg-type]
        Metrics.single(),
        shadow,  # type: ignore[arg-type]
        b"r-1",
        {"naming": route},
        **options,
    )


def body() -> JsonObject:
    return {"messages": [{"role": "user", "content": "cat"}], "max_tokens": 5}


def answered(text: str) -> bytes:
    choice = {"message": {"content": text}, "finish_reason": "stop"}
    return json.dumps({"choices": [choice], "usage": USAGE}).encode()


async def test_a_whole_answer_with_its_usage_and_who_gave_it() -> None:
    relay, copy = Relay(Connection(answered("Paris"))), Copy()
    said = await caller(relay, copy, key="ann").answer("naming", body())
    assert said == Answer("Paris", TokenUsage(5, 2), NAMING, "stop")
    assert relay.bodies[0]["messages"] == body()["messages"]
    assert "stream" not in relay.bodies[0]
    assert (relay.ended, relay.let_in, relay.exchanges[0].key) == (1, [False], "ann")
    assert (copy.heard, copy.ended) == ([(answered("Paris"), True)], 1)


async def test_a_stream_is_read_as_it_is_decoded() -> None:
    last = event(choices=[], usage=USAGE)
    relay = Relay(Connection(piece("Par"), piece("is", "stop"), last, b"data: [DONE]\n\n"))
    deltas = [delta async for delta in caller(relay).deltas("naming", body())]
    assert deltas == [
        Delta("Par", None, None, NAMING),
        Delta("is", "stop", None, NAMING),
        Delta("", None, TokenUsage(5, 2), NAMING),
    ]
    asked = relay.bodies[0]
    assert (asked["stream"], asked["stream_options"]) == (True, {"include_usage": True})
    assert (relay.ended, relay.exchanges[0].usage) == (1, TokenUsage(5, 2))


async def test_a_stream_that_is_not_read_on_is_given_back() -> None:
    relay, copy = Relay(Connection(piece("Par"), piece("is"))), Copy()
    async with aclosing(caller(relay, copy).deltas("naming", body())) as deltas:
        assert (await anext(deltas)).text == "Par"
        assert relay.ended == 0
    assert (relay.ended, copy.ended) == (1, 1)


async def test_a_call_that_was_let_in_takes_its_turn() -> None:
    relay, seat = Relay(Connection(answered("x"))), Seat()
    await caller(relay, seat=seat).answer("naming", body())
    assert (relay.let_in, seat.begun) == ([True], 1)


@pytest.mark.parametrize(("priorities", "sent"), [(True, 100), (False, None)])
async def test_what_comes_behind_says_so_where_the_engine_schedules_by_it(
    priorities: bool, sent: int | None
) -> None:
    relay = Relay(Connection(answered("x")), priorities=priorities)
    await caller(relay, behind=True).answer("naming", body())
    assert (relay.bodies[0].get("priority"), relay.exchanges[0].behind) == (sent, True)


async def test_the_engines_refusal_names_the_stages_task() -> None:
    refusal = json.dumps({"error": {"message": "too long", "type": "x", "param": "input", "code": 400}})
    relay = Relay(Connection(refusal.encode(), status=400))
    with pytest.raises(InvalidRequest, match="too long") as refused:
        await caller(relay).answer("naming", body())
    assert refused.value.message.startswith("Stage task 'naming': ")
    assert (refused.value.status, relay.ended) == (400, 1)


@pytest.mark.parametrize(
    ("text", "said"), [(b'{"choices": []}', "no choices"), (b"<html>", "not valid|no JSON|JSON")]
)
async def test_an_answer_that_is_none_is_the_engines_fault(text: bytes, said: str) -> None:
    relay = Relay(Connection(text))
    with pytest.raises(EngineError, match=said):
        await caller(relay).answer("naming", body())
    assert relay.ended == 1


async def test_an_error_within_a_stream_breaks_it_off() -> None:
    relay = Relay(Connection(piece("Par"), event(error={"message": "out of memory"})))
    with pytest.raises(EngineError, match="broke off the answer for 'naming'"):
        _ = [delta async for delta in caller(relay).deltas("naming", body())]
    assert (relay.ended, relay.exchanges[0].broken) == (1, True)
