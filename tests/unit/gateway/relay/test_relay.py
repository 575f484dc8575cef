"""The request to the engine: which engine gets it, what it holds meanwhile, and that it is given back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from pathlib import Path

import pytest

from gateway.admission.limits import Admission
from gateway.admission.turns.engine_slots import EngineRoom
from gateway.dialects.chat.dialect import CHAT
from gateway.errors import EngineError, ModelNotFound, RequestError, Unavailable
from gateway.http.engine_connection import ConnectTimeout, Disconnected, Unreachable
from gateway.http.event_stream import TokenUsage
from gateway.metrics.counters import Metrics
from gateway.relay.engine_answers import AdapterLost, EngineEnds
from gateway.relay.relay import Relay
from gateway.relay.request_record import BATCH, Exchange
from gateway.routing.selection.visits import Visits
from gateway.routing.table import Loaded, Route, Table, build_table
from tests.support.stack import config_of, eventually, snapshot_of, stack

pytestmark = pytest.mark.anyio
NAMING = "naming@bbbbbbbbbbbb"
ENDING = b'{"error":{"message":"cannot schedule new futures after shutdown","code":500}}'
UNKNOWN = b'{"error":{"message":"The model `naming@bbbbbbbbbbbb` does not exist.","type":"NotFoundError"}}'


class Connection:
    """An exchange that has an answer already."""

    def __init__(self, owner: Engine, status: int = 200, *pieces: bytes) -> None:
        self.owner, self.status = owner, status
        self.headers: dict[bytes, bytes] = {}
        self.pieces = list(pieces)
        self.error: RequestError | None = None
        self.kept = True

    def header(self, name: bytes) -> bytes | None:
        return self.headers.get(name)

    def end_after(self) -> None:
        self.kept = False

    @property
    def complete(self) -> bool:
        return not self.pieces

    async def read(self) -> bytes:
        return self.pieces.pop(0) if self.pieces else b""


class Engine:
    """As a replica and its connections at once: each request gets the next of its answers."""

    def __init__(self, name: str, *answers: Connection | RequestError) -> None:
        self.name, self.process, self.upstream = name, f"process of {name}", self
        self.answers = list(answers)
        self.failures = 0
        self.kept = True
        self.asked = self.well = 0
        self.finished: list[Connection] = []
        self.visits = Visits()

    def answered(self) -> None:
        self.well += 1

    async def exchange(self, path: bytes, body: object, request_id: bytes, more: bytes = b"") -> Connection:
        self.asked += 1
        answer = self.answers.pop(0) if self.answers else Connection(self)
        if isinstance(answer, RequestError):
            raise answer
        answer.owner = self
        return answer

    def try_exchange(
        self, path: bytes, body: object, request_id: bytes, more: bytes = b""
    ) -> Connection | None:
        self.asked += self.kept
        return Connection(self) if self.kept else None

    def finish(self, connection: Connection) -> None:
        self.finished.append(connection)


class Replicas:
    """The engines in the order in which they are asked."""

    def __init__(self, table: Table, *engines: Engine) -> None:
        self.table, self.ready = table, engines
        self.rested: list[tuple[str, bool]] = []

    @property
    def are_several(self) -> bool:
        return len(self.ready) > 1

    def seated(self, route: Route, engine: str, prompt: object = None) -> Engine:
        return next(one for one in self.ready if one.name == engine)

    def pick(self, route: Route, prompt: object = None, *, begun: bool = False) -> Engine:
        return self.ready[0]

    def other(self, route: Route, tried: Sequence[Engine]) -> Engine | None:
        return next((one for one in self.ready if one not in tried), None)

    def failed(self, upstream: Engine, *, gone: bool = False) -> None:
        self.rested.append((upstream.name, gone))


class Guard:
    """Notes what may have ended an engine."""

    def __init__(self) -> None:
        self.deaths: list[tuple[str, bool]] = []
        self.suspected = False

    def watches(self) -> bool:
        return self.suspected

    def verdict(self, body: object) -> str:
        return "suspect" if self.suspected else "free"

    async def admit(self, body: object, left_s: float) -> None:
        return None

    def fell(self, process: str, body: object, *, answered: bool) -> None:
        self.deaths.append((process, answered))


class House:
    """A relay before such engines."""

    def __init__(self, folder: Path, *engines: Engine, **bounds: object) -> None:
        config = config_of(folder, **bounds)
        table = build_table(config, {"naming": [Loaded(NAMING)]})
        self.admission = Admission(config)
        self.replicas, self.guard = Replicas(table, *engines), Guard()
        self.relay = Relay(self.replicas, self.admission, self.guard)  # type: ignore[arg-type]
        self.route = table.find("naming").pick(None)

    def exchange(self, origin: str = "client") -> Exchange:
        return Exchange(Metrics.single(), b"r-1", CHAT, origin, behind=origin == "batch")

    async def begin(self, exchange: Exchange) -> Connection:
        return await self.relay.begin(exchange, self.route, (b"{}",))  # type: ignore[return-value]

    def end(self, exchange: Exchange, connection: Connection) -> None:
        self.relay.end(exchange, connection)  # type: ignore[arg-type]

    @property
    def held(self) -> tuple[int, int]:
        return self.admission.in_flight, self.admission.busy(NAMING)


async def test_a_request_holds_its_place_until_its_end(tmp_path: Path) -> None:
    engine = Engine("one")
    house = House(tmp_path, engine)
    exchange = house.exchange()
    connection = await house.begin(exchange)
    assert (house.held, exchange.replica, exchange.status) == ((1, 1), "one", 200)
    assert house.admission.last_request_at == exchange.arrived
    house.end(exchange, connection)
    house.relay._give_back(exchange)  # as its task's own end may
    assert (house.held, engine.finished) == ((0, 0), [connection])


@pytest.mark.parametrize("error", [Unreachable(False), ConnectTimeout("No connection.")])
async def test_an_engine_that_was_sent_nothing_is_passed_over(tmp_path: Path, error: RequestError) -> None:
    first, second = Engine("one", error), Engine("two")
    house = House(tmp_path, first, second)
    exchange = house.exchange()
    connection = await house.begin(exchange)
    assert (exchange.replica, house.replicas.rested, house.guard.deaths) == ("two", [("one", False)], [])
    assert (first.visits.count, second.visits.count) == (0, 1)
    house.end(exchange, connection)
    assert second.visits.count == 0


async def test_one_whose_engines_went_while_it_waited_leaves_no_slot_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = House(tmp_path, Engine("one"), Engine("two"), max_in_flight=1, least_residency_s=1e-9)
    admission = house.admission
    both = frozenset({NAMING, "concept@1"})
    admission.follow_slots({name: EngineRoom(1, both) for name in ("one", "two")})
    gate = admission.try_enter("naming", NAMING)
    assert gate is not None
    seat = admission.seat(NAMING)
    waits = asyncio.ensure_future(house.begin(house.exchange()))
    await asyncio.sleep(0)
    assert admission.waiting == 1

    def nobody(*_: object, **__: object) -> Engine:
        raise Unavailable("No engine has it.")

    monkeypatch.setattr(house.replicas, "pick", nobody)
    monkeypatch.setattr(house.replicas, "seated", nobody)
    admission.leave(gate, NAMING, 1, seat)
    with pytest.raises(Unavailable):
        await waits
    assert admission.seat(NAMING) is None
    admission.follow_slots({"one": EngineRoom(1, both), "two": EngineRoom(1, frozenset({NAMING}))})
    assert admission.try_enter("concept", "concept@1") is not None


async def test_what_an_engine_may_have_run_is_sent_to_no_other(tmp_path: Path) -> None:
    first, second = Engine("one", Disconnected(True)), Engine("two")
    house = House(tmp_path, first, second)
    with pytest.raises(Disconnected):
        await house.begin(house.exchange())
    assert (second.asked, house.held) == (0, (0, 0))
    assert first.visits.count == 0
    assert house.guard.deaths == [("process of one", False)]


@pytest.mark.parametrize(
    ("status", "said", "raised"), [(404, UNKNOWN, AdapterLost), (500, ENDING, EngineEnds)]
)
async def test_what_an_engine_did_nothing_for_goes_to_another(
    tmp_path: Path, status: int, said: bytes, raised: type[RequestError]
) -> None:
    """It has lost the adapter, or was told to end; and it did not die of the request."""
    idle = [Engine("one"), Engine("two")]
    for one in idle:
        one.answers = [Connection(one, status, said)]
    house = House(tmp_path, *idle, Engine("three"))
    exchange = house.exchange()
    connection = await house.begin(exchange)
    assert (exchange.replica, exchange.status, [len(one.finished) for one in idle]) == ("three", 200, [1, 1])
    assert (house.replicas.rested, house.guard.deaths) == ([("one", False), ("two", False)], [])
    house.end(exchange, connection)
    alone = Engine("one")
    alone.answers = [Connection(alone, status, said)]
    house = House(tmp_path, alone)
    exchange = house.exchange()
    with pytest.raises(raised):
        await house.begin(exchange)
    assert (house.held, house.guard.deaths, exchange.status, alone.well) == ((0, 0), [], status, 0)


async def test_what_the_first_engine_took_is_not_the_times_of_the_one_that_died(tmp_path: Path) -> None:
    first = Engine("one")
    first.answers = [Connection(first, 500, ENDING)]
    house = House(tmp_path, first, Engine("two", Disconnected(True)))
    exchange = house.exchange()
    with pytest.raises(Disconnected):
        await house.begin(exchange)
    assert (exchange.replica, exchange.engine_s) == ("two", 0.0)


@pytest.mark.parametrize("status", [200, 500])
async def test_an_engine_that_answers_again_is_well(tmp_path: Path, status: int) -> None:
    engine = Engine("one")
    engine.failures, engine.answers = 2, [Connection(engine, status)]
    house = House(tmp_path, engine)
    with contextlib.suppress(EngineError):
        await house.begin(house.exchange())
    assert engine.well == 1


async def test_who_must_wait_says_how_long_and_leaves_nothing_when_it_gives_up(tmp_path: Path) -> None:
    house = House(tmp_path, Engine("one"), max_in_flight=1)
    first = house.exchange()
    connection = await house.begin(first)
    second, third = house.exchange(), house.exchange()
    waiting, gone = (asyncio.create_task(house.begin(one)) for one in (second, third))
    await asyncio.sleep(0)
    assert (house.admission.waiting, second.charged > 0) == (2, True)
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    house.end(first, connection)
    connection = await waiting
    second.usage = TokenUsage(3, 2)
    settled: list[float] = []
    house.admission.settle = lambda *said, **_: settled.append(said[-1])  # type: ignore[method-assign]
    house.end(second, connection)
    assert settled == [second.charged - 5]  # it was charged a guess
    assert second.queue_s > 0
    assert (house.held, house.admission.waiting) == ((0, 0), 0)


async def test_a_batchs_request_takes_no_clients_place(tmp_path: Path) -> None:
    house = House(tmp_path, Engine("one"), max_in_flight=1)
    behind = house.exchange(BATCH)
    connection = await house.begin(behind)
    assert house.held == (0, 1)
    client = house.exchange()
    house.end(client, await house.begin(client))
    house.end(behind, connection)
    assert (house.held, house.admission.held) == ((0, 0), 0)


async def test_at_once_means_without_any_wait(tmp_path: Path) -> None:
    engine = Engine("one")
    house = House(tmp_path, engine, max_in_flight=1)

    def tried() -> Connection | None:
        return house.relay.try_begin(house.exchange(), house.route, (b"{}",))  # type: ignore[return-value]

    engine.kept = False
    assert tried() is None
    engine.kept, engine.failures = True, 1
    assert tried() is None
    engine.failures, house.guard.suspected = 0, True
    assert tried() is None
    assert (house.held, engine.asked) == ((0, 0), 0)
    house.guard.suspected = False
    exchange = house.exchange()
    connection = house.relay.try_begin(exchange, house.route, (b"{}",))
    assert connection is not None
    assert (house.held, exchange.gate is not None) == ((1, 1), True)
    assert tried() is None
    house.relay.end(exchange, connection)
    assert house.held == (0, 0)


@pytest.mark.parametrize(("status", "counts"), [(500, True), (502, True), (503, False), (200, False)])
@pytest.mark.parametrize("at_once", [True, False])
async def test_an_answer_that_is_a_failure_may_have_been_the_engines_end(
    tmp_path: Path, status: int, counts: bool, at_once: bool
) -> None:
    engine = Engine("one")
    house = House(tmp_path, engine)
    exchange = house.exchange()
    if at_once:
        connection = house.relay.try_begin(exchange, house.route, (b"{}",))
        assert connection is not None
        connection.status = status
        house.relay.end(exchange, connection)
    else:
        engine.answers = [Connection(engine, status, b"oops")]
        with contextlib.suppress(EngineError):
            house.end(exchange, await house.begin(exchange))
    assert house.guard.deaths == ([("process of one", True)] if counts else [])
    assert (house.held, len(engine.finished)) == ((0, 0), 1)


async def test_a_client_that_leaves_an_engines_failure_leaves_it_counted(tmp_path: Path) -> None:
    engine = Engine("one")
    engine.answers = [failing := Connection(engine, 500)]
    house = House(tmp_path, engine)

    async def never() -> bytes:
        raise asyncio.CancelledError

    failing.read = never  # type: ignore[method-assign]
    with pytest.raises(asyncio.CancelledError):
        await house.begin(house.exchange())
    assert (house.guard.deaths, house.held) == ([("process of one", True)], (0, 0))
    assert engine.finished == [failing]


async def test_an_engine_that_did_nothing_for_a_request_did_not_die_of_it(tmp_path: Path) -> None:
    house = House(tmp_path, Engine("one"))
    exchange = house.exchange()
    connection = house.relay.try_begin(exchange, house.route, (b"{}",))
    assert connection is not None
    connection.status, exchange.undone = 500, True
    house.relay.end(exchange, connection)
    assert house.guard.deaths == []


async def test_routes_stay_and_adapters_are_held_while_they_are_pinned(tmp_path: Path) -> None:
    house = House(tmp_path, Engine("one"))
    with house.relay.pinned(["naming"], b"ann") as routes:
        assert routes["naming"].adapter_id == NAMING
        assert house.admission.busy(NAMING) == 1
    assert house.admission.busy(NAMING) == 0
    with pytest.raises(ModelNotFound), house.relay.pinned(["nobody"], b"ann"):
        pass


async def test_who_comes_again_and_finds_no_engine_counts_as_in_flight_once(tmp_path: Path) -> None:
    """A request that met a dead engine waits for the next, gets its place, and that one is gone as well."""
    async with stack(tmp_path) as s:
        relay, replicas, admission = s.gateway._relay, s.gateway.replicas, s.gateway.admission
        exchange = Exchange(s.gateway.metrics, b"r", CHAT)
        await s.engine.stop()
        with pytest.raises(EngineError):
            await relay.begin(exchange, replicas.table.find("base"), (b"{}",))
        replicas.apply(snapshot_of(replicas.config, 2, url=s.engine.url, state="ready", started_at=2.0))
        route = replicas.table.find("base")
        admission.configure(config_of(tmp_path, max_in_flight_per_task=1))
        gate = admission.try_enter("base", "base")
        assert gate is not None
        again = asyncio.create_task(relay.begin(exchange, route, (b"{}",)))
        await eventually(lambda: admission.waiting == 1)
        replicas.apply(snapshot_of(replicas.config, 3, state="stopped"))
        admission.leave(gate, "base")
        with pytest.raises(Unavailable):
            await again
        assert admission.in_flight == 0
        in_flight = {key: value for key, value in s.samples().items() if key[0] == "requests_in_flight"}
        assert in_flight
        assert not any(in_flight.values())
