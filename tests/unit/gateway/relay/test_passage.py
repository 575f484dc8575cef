"""What follows from an engine's answer, for both drivers: nothing here waits."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from gateway.dialects.chat.dialect import CHAT
from gateway.errors import EngineError, RequestError
from gateway.http.engine_connection import Connection, Disconnected
from gateway.metrics.counters import Metrics
from gateway.relay.direct import DirectRelay
from gateway.relay.engine_answers import AdapterLost
from gateway.relay.passage import Passage
from gateway.relay.request_record import Exchange
from gateway.routing.table import Contract, Route

ROUTE = Route("naming", "task", Contract(None, {}, None), "naming@b")
STREAM = [(b"content-type", b"text/event-stream; charset=utf-8")]


@dataclass
class FakeConnection:
    status: int = 200
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    owner: object = None
    listener: object = None
    error: RequestError | None = None
    complete: bool = True
    head_complete: bool = False
    kept: bool = True

    def end_after(self) -> None:
        self.kept = False


@dataclass
class FakeRelay:
    """Counts what is given back; `others`: whether another engine has the adapter."""

    others: bool = False
    ended: int = 0

    def end(self, exchange: Exchange, connection: Connection) -> None:
        self.ended += 1

    def lost(self, exchange: Exchange, owner: object, error: AdapterLost) -> bool:
        return self.others


def passage(relay: FakeRelay | None = None) -> Passage:
    exchange = Exchange(Metrics.single(), b"r-1", CHAT)
    exchange.begin(ROUTE)
    return Passage(relay or FakeRelay(), exchange, False)  # type: ignore[arg-type]


def connection(status: int = 200, headers: list[tuple[bytes, bytes]] | None = None) -> Connection:
    return FakeConnection(status, headers or [])  # type: ignore[return-value]


def test_only_a_good_answer_of_events_is_a_stream() -> None:
    made = passage()
    headers = made.head_came(connection(200, STREAM))
    assert headers is not None
    assert headers[-2:] == [STREAM[0], (b"cache-control", b"no-cache")]
    assert made.events is not None
    for status, sent in ((200, []), (400, STREAM), (500, STREAM)):
        whole = passage()
        assert whole.head_came(connection(status, sent)) is None
        assert (whole.begun, whole.events, whole.exchange.status) == (True, None, status)


def test_whole_answer_is_counted_or_told_as_a_failure() -> None:
    made = passage()
    text = b'{"usage":{"prompt_tokens":3,"completion_tokens":2}}'
    headers, answer = made.whole(connection(), text)
    assert (answer, headers[-1]) == (text, (b"content-length", b"%d" % len(text)))
    assert made.exchange.usage is not None
    assert made.exchange.usage.prompt_tokens == 3
    with pytest.raises(EngineError):
        passage().whole(connection(500), b"oops")


@pytest.mark.parametrize(
    ("error", "others", "again"),
    [
        (Disconnected(False, race=True), False, True),
        (Disconnected(False, race=False), False, False),
        (Disconnected(True, race=True), False, False),
        (AdapterLost("naming"), True, True),
        (AdapterLost("naming"), False, False),
        (EngineError("x"), True, False),
    ],
)
def test_only_what_the_engine_has_not_run_is_sent_again(
    error: RequestError, others: bool, again: bool
) -> None:
    assert passage(FakeRelay(others)).may_go_elsewhere(connection(), error) is again


def test_place_is_given_back_once() -> None:
    relay = FakeRelay()
    made = passage(relay)
    made.connection = held = connection()
    held.listener = made.give_back
    made.give_back()
    made.give_back()
    assert relay.ended == 1
    assert held.listener is None


def test_what_was_reserved_is_given_back_before_a_task_reserves_anew() -> None:
    seen: list[str] = []

    class Reserved:
        def give_back(self) -> None:
            seen.append("given back")

    class Client:
        def start_task(self) -> None:
            seen.append("task")

    exchange = Exchange(Metrics.single(), b"r-1", CHAT)
    exchange.begin(ROUTE)
    exchange.reservation = Reserved()  # type: ignore[assignment]
    direct = DirectRelay(FakeRelay(), exchange, Client(), False)  # type: ignore[arg-type]
    lost = FakeConnection(error=Disconnected(False, race=True))
    direct.connection = lost  # type: ignore[assignment]
    direct._progress()
    assert seen == ["given back", "task"]
