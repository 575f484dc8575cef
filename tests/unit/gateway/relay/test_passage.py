"""What follows from an engine's answer, for both drivers: nothing here waits."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from gateway.dialects.chat.dialect import CHAT
from gateway.errors import EngineError, RequestError
from gateway.http.engine_connection import Connection
from gateway.http.request_cycle import header_pairs
from gateway.metrics.counters import Metrics
from gateway.relay.passage import Passage
from gateway.relay.request_record import Exchange
from gateway.routing.table import Contract, Route

ROUTE = Route("naming", "task", Contract(None, {}, None), "naming@b")
STREAM = {b"content-type": b"text/event-stream; charset=utf-8"}


@dataclass
class FakeConnection:
    status: int = 200
    headers: dict[bytes, bytes] = field(default_factory=dict)
    owner: object = None
    listener: object = None
    error: RequestError | None = None
    complete: bool = True
    head_complete: bool = False
    kept: bool = True

    def header(self, name: bytes) -> bytes | None:
        return self.headers.get(name)

    def end_after(self) -> None:
        self.kept = False


@dataclass
class FakeRelay:
    """Counts what is given back."""

    ended: int = 0

    def end(self, exchange: Exchange, connection: Connection) -> None:
        self.ended += 1


def passage(relay: FakeRelay | None = None) -> Passage:
    exchange = Exchange(Metrics.single(), b"r-1", CHAT)
    exchange.begin(ROUTE)
    return Passage(relay or FakeRelay(), exchange, False)  # type: ignore[arg-type]


def connection(status: int = 200, headers: dict[bytes, bytes] | None = None) -> Connection:
    return FakeConnection(status, headers or {})  # type: ignore[return-value]


def test_only_a_good_answer_of_events_is_a_stream() -> None:
    made = passage()
    block = made.head_came(connection(200, STREAM))
    assert block is not None
    assert header_pairs(block)[-2:] == [*STREAM.items(), (b"cache-control", b"no-cache")]
    assert made.events is not None
    for status, sent in ((200, {}), (400, STREAM), (500, STREAM)):
        whole = passage()
        assert whole.head_came(connection(status, sent)) is None
        assert (whole.begun, whole.events, whole.exchange.status) == (True, None, status)


def test_whole_answer_is_counted_or_told_as_a_failure() -> None:
    made = passage()
    text = b'{"usage":{"prompt_tokens":3,"completion_tokens":2}}'
    block, answer = made.whole(connection(), text)
    assert (answer, header_pairs(block)[-1]) == (text, (b"content-type", b"application/json"))
    assert made.exchange.usage is not None
    assert made.exchange.usage.prompt_tokens == 3
    with pytest.raises(EngineError):
        passage().whole(connection(500), b"oops")


def test_place_is_given_back_once() -> None:
    relay = FakeRelay()
    made = passage(relay)
    made.connection = held = connection()
    held.listener = made.give_back
    made.give_back()
    made.give_back()
    assert relay.ended == 1
    assert held.listener is None
