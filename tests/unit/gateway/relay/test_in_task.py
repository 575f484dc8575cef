"""A request served in a task: its answer's messages, and what is told in a stream that has begun."""

from __future__ import annotations

import asyncio

import pytest
from starlette.types import Message

from gateway.dialects.chat.dialect import CHAT
from gateway.dialects.responses.dialect import RESPONSES
from gateway.errors import EngineError
from gateway.http.engine_connection import Connection as EngineConnection
from gateway.metrics.counters import Metrics
from gateway.relay.in_task import TaskRelay
from gateway.relay.request_record import Exchange
from gateway.routing.table import Contract, Route

ROUTE = Route("naming", "task", Contract(None, {}, None), "naming@b")


class FakeConnection:
    """Gives its pieces, then ends, or fails with the last of them."""

    def __init__(self, status: int, headers: dict[bytes, bytes], *pieces: bytes | EngineError) -> None:
        self.status, self.headers = status, headers
        self._pieces = list(pieces)
        self.listener = None

    def header(self, name: bytes) -> bytes | None:
        return self.headers.get(name)

    def end_after(self) -> None:
        """It is used once."""

    whole = EngineConnection.whole

    async def read(self) -> bytes:
        piece = self._pieces.pop(0) if self._pieces else b""
        if isinstance(piece, EngineError):
            raise piece
        return piece


class FakeRelay:
    """Has sent the request already."""

    def __init__(self, connection: FakeConnection) -> None:
        self._connection = connection
        self.ended = 0

    async def begin(self, exchange: Exchange, route: Route, body: object) -> FakeConnection:
        exchange.begin(route)
        return self._connection

    def end(self, exchange: Exchange, connection: FakeConnection) -> None:
        self.ended += 1


def answered(connection: FakeConnection, *, begun: bool = False) -> list[Message]:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    exchange = Exchange(Metrics.single(), b"r-1", CHAT)
    exchange.begun = begun
    relay = FakeRelay(connection)
    try:
        asyncio.run(TaskRelay(relay, exchange, True).run(ROUTE, (b"{}",), send))  # type: ignore[arg-type]
    finally:
        assert relay.ended == 1
    return sent


EVENTS = {b"content-type": b"text/event-stream"}


def test_whole_answer_comes_in_one_piece() -> None:
    start, body = answered(FakeConnection(200, {}, b'{"a":', b"1}"))
    assert (start["status"], body["body"], body["more_body"]) == (200, b'{"a":1}', False)


def test_stream_that_breaks_off_ends_with_an_error_event() -> None:
    event = b'data: {"choices":[]}\n\n'
    sent = answered(FakeConnection(200, EVENTS, event, EngineError("gone")))
    assert sent[0]["status"] == 200
    assert b"gone" in sent[-1]["body"]
    assert [message["more_body"] for message in sent[1:]][-1] is False


def test_failure_before_the_first_byte_is_raised() -> None:
    with pytest.raises(EngineError):
        answered(FakeConnection(500, {}, b"oops"))


def test_whole_answer_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.relay.in_task.MAX_ANSWER_BYTES", 3)
    with pytest.raises(EngineError, match="larger than 3 bytes"):
        answered(FakeConnection(200, {}, b"ab", b"cd"))


def test_refusal_in_a_stream_that_has_begun_is_its_last_event() -> None:
    (only,) = answered(FakeConnection(400, {}, b'{"error":{"message":"no"}}'), begun=True)
    assert (only["type"], only["more_body"]) == ("http.response.body", False)
    assert only["body"].startswith(b"data: ")


def test_a_response_that_is_announced_has_no_token_yet() -> None:
    seen: list[float | None] = []
    exchange = Exchange(Metrics.single(), b"r-1", RESPONSES)

    class Watched(FakeConnection):
        async def read(self) -> bytes:
            seen.append(exchange.first_token_s)
            return await super().read()

    async def send(message: Message) -> None:
        """Whoever listens."""

    events = ("created", "output_text.delta", "output_text.delta", "completed")
    pieces = (f"event: response.{name}\ndata: {{}}\n\n".encode() for name in events)
    relay = FakeRelay(Watched(200, EVENTS, *pieces))
    asyncio.run(TaskRelay(relay, exchange, True).run(ROUTE, (b"{}",), send))  # type: ignore[arg-type]
    _, announced, first, *later = seen
    assert announced is not None
    assert first is not None
    assert announced < first
    assert {*later, exchange.first_token_s} == {first}
