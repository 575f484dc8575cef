"""A request served by calls alone: each step that a connection or the client takes, and each way to fail."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable

import pytest

from gateway.dialects.chat.dialect import CHAT
from gateway.errors import EngineError, RequestError
from gateway.http.engine_connection import Disconnected
from gateway.metrics.counters import Metrics
from gateway.relay import direct
from gateway.relay.direct import DirectRelay
from gateway.relay.engine_answers import AdapterLost
from gateway.relay.request_record import Exchange
from gateway.routing.table import Contract, Route

ROUTE = Route("naming", "task", Contract(None, {}, None), "naming@b")
STREAM = {b"content-type": b"text/event-stream"}
EVENT = b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n'


class Connection:
    """Comes on as the test says."""

    def __init__(self) -> None:
        self.status, self.headers = 200, {b"content-type": b"application/json"}
        self.head_complete = self.complete = self.paused = False
        self.error: RequestError | None = None
        self.owner = None
        self.listener: Callable[[], None] | None = None
        self._came = b""

    def header(self, name: bytes) -> bytes | None:
        return self.headers.get(name)

    def comes(self, piece: bytes = b"", *, complete: bool = False, error: RequestError | None = None) -> None:
        self.head_complete = error is None or self.head_complete
        self._came, self.complete, self.error = piece, complete, error
        assert self.listener is not None
        self.listener()

    def take(self) -> bytes:
        piece, self._came = self._came, b""
        return piece

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False


class Relay:
    """Has a connection kept, or none."""

    def __init__(self, connection: Connection | None) -> None:
        self._connection = connection
        self.ended = 0
        self.others = False
        """Whether another engine has the adapter."""
        self.failures: list[RequestError] = []

    def try_begin(self, exchange: Exchange, route: Route, body: object) -> Connection | None:
        if self._connection is not None:
            exchange.begin(route)
        return self._connection

    def end(self, exchange: Exchange, connection: Connection) -> None:
        self.ended += 1

    def lost(self, exchange: Exchange, owner: object, error: RequestError) -> bool:
        return self.others

    def failed(self, owner: object, error: RequestError, exchange: Exchange) -> None:
        self.failures.append(error)


class Client:
    """What the client sees; `full`: it takes no more for now."""

    def __init__(self) -> None:
        self.status = 0
        self.body = b""
        self.full = self.over = self.broken = self.tasked = self.faulty = False
        self.leave: Callable[[], None] = lambda: None
        self.drained: Callable[[], None] = lambda: None

    def on_leave(self, leave: Callable[[], None]) -> None:
        self.leave = leave

    def on_drained(self, drained: Callable[[], None]) -> None:
        self.drained = drained

    def begin(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        if self.faulty:
            raise ValueError("a fault of ours")
        self.status = status

    def write(self, body: bytes, more_body: bool) -> None:
        self.body += body
        self.over = not more_body

    def begin_block(self, status: int, block: bytes, length: int | None) -> None:
        self.begin(status, ())

    def answer(self, status: int, block: bytes, body: bytes) -> None:
        self.begin(status, ())
        self.write(body, False)

    def write_chunk(self, body: bytes) -> bool:
        self.body += body
        return not self.full

    def start_task(self) -> None:
        self.tasked = True

    def break_off(self) -> None:
        self.broken = True


class Reserved:
    """What it holds of its key's limits."""

    def __init__(self) -> None:
        self.given_back = False
        self.header_block = b""
        self.prompt_tokens = 0

    def give_back(self) -> None:
        self.given_back = True

    def settle(self, tokens: int) -> None:
        self.given_back = True


class Visit:
    """One request on its direct way."""

    def __init__(self, *, kept: bool = True) -> None:
        self.connection, self.client, self.metrics = Connection(), Client(), Metrics.single()
        self.relay = Relay(self.connection if kept else None)
        exchange = Exchange(self.metrics, b"r-1", CHAT)
        self.direct = DirectRelay(self.relay, exchange, True, client=self.client)  # type: ignore[arg-type]
        self.started = self.direct.start(ROUTE, (b"{}",))

    def requests(self, name: str) -> float:
        text = self.metrics.render()[0].decode()
        rows = [line for line in text.splitlines() if line.startswith(f"lora_gateway_{name}{{")]
        return sum(float(row.rpartition(" ")[2]) for row in rows)


def test_where_nothing_is_kept_the_client_hears_nothing() -> None:
    visit = Visit(kept=False)
    assert (visit.started, visit.client.status, visit.relay.ended) == (False, 0, 0)


def test_a_whole_answer_is_gathered_and_passed_on_at_its_end() -> None:
    visit = Visit()
    assert visit.started
    visit.connection.comes(b'{"a":')
    assert visit.client.status == 0
    visit.connection.comes(b"1}", complete=True)
    client = visit.client
    assert (client.status, client.body, client.over) == (200, b'{"a":1}', True)
    assert (visit.relay.ended, visit.connection.listener) == (1, None)


def test_a_stream_goes_on_as_it_comes_and_waits_for_a_slow_client() -> None:
    visit = Visit()
    visit.connection.headers = STREAM
    visit.connection.comes(EVENT)
    assert (visit.client.status, visit.client.body) == (200, EVENT)
    visit.client.full = True
    visit.connection.comes(EVENT)
    assert visit.connection.paused
    visit.client.drained()
    assert not visit.connection.paused
    visit.connection.comes(b"data: [DONE]\n\n", complete=True)
    assert (visit.client.over, visit.relay.ended, visit.connection.paused) == (True, 1, False)
    assert visit.client.body == EVENT * 2 + b"data: [DONE]\n\n"


def test_what_fails_before_the_answer_is_told_in_the_usual_envelope() -> None:
    visit = Visit()
    visit.connection.comes(error=Disconnected(False))
    error = json.loads(visit.client.body)["error"]
    assert (visit.client.status, visit.client.over) == (502, True)
    assert "closed the connection" in error["message"]
    assert ([type(one) for one in visit.relay.failures], visit.relay.ended) == ([Disconnected], 1)


def test_what_fails_in_a_stream_is_its_last_event() -> None:
    visit = Visit()
    visit.connection.headers = STREAM
    visit.connection.comes(EVENT)
    visit.connection.comes(error=EngineError("gone"))
    rest = visit.client.body.removeprefix(EVENT)
    assert json.loads(rest.removeprefix(b"data: "))["error"]["message"] == "gone"
    assert (visit.client.over, visit.relay.failures, visit.relay.ended) == (True, [], 1)


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
def test_only_what_the_engine_has_not_run_goes_on_in_a_task(
    error: RequestError, others: bool, again: bool
) -> None:
    visit = Visit()
    visit.relay.others = others
    held = Reserved()
    visit.direct.exchange.reservation = held  # type: ignore[assignment]
    visit.connection.comes(error=error)
    assert (visit.client.tasked, visit.client.status == 0, visit.relay.ended) == (again, again, 1)
    assert visit.direct.exchange.undone is isinstance(error, AdapterLost)
    assert held.given_back  # its task makes its own


def test_a_client_that_leaves_frees_everything_and_is_counted_once() -> None:
    visit = Visit()
    visit.client.leave()
    visit.client.leave()
    assert (visit.relay.ended, visit.requests("cancellations_total")) == (1, 1)


def test_an_answer_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct, "MAX_ANSWER_BYTES", 10)
    visit = Visit()
    visit.connection.comes(b"x" * 11)
    assert (visit.client.status, visit.relay.ended) == (502, 1)
    assert b"larger than 10 bytes" in visit.client.body


def test_a_fault_of_ours_frees_the_place_and_never_leaves_the_client_waiting() -> None:
    visit = Visit()
    visit.client.faulty = True
    visit.connection.comes(b"{}", complete=True)
    assert (visit.client.broken, visit.relay.ended) == (True, 1)
