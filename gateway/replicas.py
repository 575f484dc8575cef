"""Engines as the gateway sees them, and the table that goes with them: swapped whole with each snapshot.

Requests read the current table and take no lock; one that has begun keeps the route that it began with.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from urllib.parse import urlsplit

import msgspec

from gateway.config import Config
from gateway.errors import RequestError, Unavailable
from gateway.snapshot import EngineStatus, Snapshot, TaskStatus
from gateway.table import Loaded, Route, Table, build_table
from gateway.upstream import Address, Timeouts, Upstream

logger = logging.getLogger("gateway.replicas")

READY_FOR_S = 2.0
"""A completion that worked answers `/ready` for this long."""
EJECTED_S = 1.0
LONGEST_EJECTED_S = 30.0
GONE = "the control plane is gone, and the engine with it"
WAITABLE = ("starting", "sleeping")


@dataclass(frozen=True, slots=True)
class EngineModel:
    """One entry of the engine's own model list."""

    id: str
    root: str | None
    parent: str | None
    max_model_len: int | None
    created: int


@dataclass(slots=True)
class Replica:
    """A ready engine."""

    name: str
    upstream: Upstream
    status: EngineStatus
    loaded: frozenset[str] = frozenset()
    models: Mapping[str, EngineModel] = field(default_factory=lambda: MappingProxyType({}))
    failures: int = 0
    """Connections in a row that it did not take."""
    ejected_until: float = 0.0


def address_of(url: str) -> Address:
    """`http://host:port` or `unix:/path`."""
    if url.startswith("unix:"):
        return Address(uds=url.removeprefix("unix:"))
    parts = urlsplit(url)
    return Address(host=parts.hostname or "127.0.0.1", port=parts.port or 80)


def answering(task: TaskStatus, loaded: frozenset[str]) -> list[Loaded]:
    """The versions that get requests: those with a weight that some engine has; the oldest first."""
    return [
        Loaded(version.id, version.weight)
        for version in task.versions
        if version.weight > 0 and version.id in loaded
    ]


class Replicas:
    """The engines now, and the table. `apply` is the only way in."""

    def __init__(self, config: Config, prepare: Callable[[Config], Callable[[], None]] | None = None) -> None:
        """`prepare` checks another configuration, and returns what puts it in force. Raises ConfigError."""
        self._config = config
        self._prepare = prepare
        self._replicas: tuple[Replica, ...] = ()
        self._only: Replica | None = None
        self._turn = 0
        self._live: object = None
        self._proving: asyncio.Task[bool] | None = None
        self._asking: set[asyncio.Task[None]] = set()
        self._proven_until = 0.0
        self.news = asyncio.Event()
        """Set, and replaced by another, with each change."""
        self.snapshot = Snapshot()
        self.control_alive = False
        self.table: Table = build_table(config, {})

    @property
    def config(self) -> Config:
        return self._config

    @property
    def current(self) -> Replica | None:
        """A ready engine, if there is one."""
        return self._replicas[0] if self._replicas else None

    @property
    def open_connections(self) -> int:
        """Connections with an exchange on them."""
        return sum(replica.upstream.open_connections for replica in self._replicas)

    async def stop(self) -> None:
        """Close idle connections."""
        tasks = [*self._asking, *([self._proving] if self._proving else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for replica in self._replicas:
            replica.upstream.close()

    def pick(self, route: Route) -> Replica:
        """An engine for a route. Raises Unavailable where none can serve it now."""
        replica = self._only
        if replica is not None and route.adapter_id in replica.loaded:
            return replica
        return self._choose(route)

    def _choose(self, route: Route) -> Replica:
        """Least in flight of those that have the adapter; in turn where equal; the ejected last."""
        able = [replica for replica in self._replicas if route.adapter_id in replica.loaded]
        if not able:
            raise self.unavailable(route)
        now = time.monotonic()
        well = [replica for replica in able if replica.ejected_until <= now] or able
        self._turn += 1
        first = self._turn % len(well)
        return min((*well[first:], *well[:first]), key=lambda replica: replica.upstream.open_connections)

    def others(self, route: Route, tried: Sequence[Replica]) -> bool:
        """Whether another engine could serve the route."""
        return any(route.adapter_id in replica.loaded and replica not in tried for replica in self._replicas)

    def refused(self, replica: Replica) -> None:
        """It took no connection: others are asked first for a while."""
        replica.failures += 1
        rest_s = min(EJECTED_S * 2 ** (replica.failures - 1), LONGEST_EJECTED_S)
        replica.ejected_until = time.monotonic() + rest_s
        if replica.status.managed and not self.control_alive and replica in self._replicas:
            # An engine of ours goes with its control plane, and nobody is left to say so.
            gone = [
                _stopped(engine) if engine.name == replica.name else engine
                for engine in self.snapshot.engines
            ]
            self._route(msgspec.structs.replace(self.snapshot, engines=gone))

    def took(self, replica: Replica) -> None:
        """It took a connection."""
        replica.failures = 0
        replica.ejected_until = 0.0

    def servable(self, name: str) -> bool:
        """Whether a model can be answered now: all stages of a pipeline, or an adapter that is loaded."""
        route = self.table.routes.get(name)
        if route is None:
            return False
        if route.kind == "pipeline":
            return all(self.servable(stage.task) for stage in self._config.pipelines[name].stages)
        return route.adapter_id is not None

    def may_come(self) -> bool:
        """Whether waiting makes sense: no engine is ready, and one will be or would be if it were asked."""
        if self._replicas or not self.control_alive:
            return False
        return any(
            engine.state in WAITABLE
            or engine.next_try_at is not None
            or (engine.lazy and engine.state in ("stopped", "draining"))
            for engine in self.snapshot.engines
        )

    def wants_start(self) -> bool:
        """Whether somebody has to ask for an engine."""
        return any(
            engine.state == "sleeping" or (engine.lazy and engine.state in ("stopped", "draining"))
            for engine in self.snapshot.engines
        )

    def slots(self) -> tuple[int | None, int]:
        """Adapters that one batch holds (None where an engine says nothing), and how many are asked for."""
        sizes = [replica.status.slots for replica in self._replicas]
        known = [size for size in sizes if size is not None]
        asked = {
            version.id
            for task in self.snapshot.tasks.values()
            for version in task.versions
            if version.weight or (task.shadow and task.shadow.id == version.id)
        }
        return (min(known) if known and len(known) == len(sizes) else None), len(asked)

    def stage(self) -> tuple[str, float]:
        """What the engine that comes is doing, and the seconds that it has taken so far."""
        for engine in self.snapshot.engines:
            if engine.state == "starting":
                return engine.stage or "starting", max(0.0, time.time() - engine.started_at)
        return "waiting for a start", 0.0

    def rest_s(self) -> int:
        """Seconds until an engine is ready, by how long its last start took."""
        rests = []
        for engine in self.snapshot.engines:
            load_s = engine.load_s or 60.0
            if engine.state == "starting":
                load_s -= max(0.0, time.time() - engine.started_at)
            elif engine.next_try_at is not None:
                load_s += max(0.0, engine.next_try_at - time.time())
            rests.append(load_s)
        return int(min(600, max(1, min(rests, default=10))))

    def unavailable(self, route: Route | None = None) -> Unavailable:
        """The 503 that says what the engine is doing and when to come again."""
        if self._replicas:
            name = route.name if route else self._config.base.name
            why = (route.reason if route else "") or "No engine has it."
            return Unavailable(
                f"The adapter of '{name}' is not loaded. {why}", code="adapter_not_loaded", retry_after_s=5
            )
        engines = self.snapshot.engines
        coming = any(engine.state in WAITABLE or engine.next_try_at is not None for engine in engines)
        lazy = any(engine.lazy and engine.state in ("stopped", "draining") for engine in engines)
        under_way = any(engine.state in ("starting", "ready") for engine in engines)
        if under_way or ((coming or lazy) and self.control_alive):
            stage, running_s = self.stage()
            return Unavailable(
                f"The engine is starting ({stage}, {running_s:.0f} s so far).", retry_after_s=self.rest_s()
            )
        states = [f"state: {one.state}{f': {one.reason}' if one.reason else ''}" for one in engines]
        shown = "; ".join(states) or "state: stopped"
        return Unavailable(
            f"The engine is not running ({shown}).", code="engine_not_running", retry_after_s=10
        )

    async def proven(self) -> bool:
        """Whether a real completion on the base works now; one probe at a time, kept for two seconds."""
        replica = self.current
        if replica is None:
            return False
        if time.monotonic() < self._proven_until:
            return True
        if self._proving is None or self._proving.done():
            self._proving = asyncio.create_task(self._prove(replica.upstream))
        return await asyncio.shield(self._proving)

    async def _prove(self, upstream: Upstream) -> bool:
        body = json.dumps({"model": self._config.base.name, "prompt": "1", "max_tokens": 1, "temperature": 0})
        try:
            async with asyncio.timeout(30):
                status, _ = await _fetch(upstream, b"/v1/completions", body.encode())
        except (RequestError, TimeoutError):
            return False
        if status == 200:
            self._proven_until = time.monotonic() + READY_FOR_S
        return status == 200

    def apply(self, snapshot: Snapshot) -> None:
        """Route by this snapshot from now on; a configuration in it that cannot be is refused whole."""
        live = (
            {name: task.settings for name, task in snapshot.tasks.items()},
            snapshot.pipelines,
            snapshot.keys,
        )
        if live != self._live and snapshot.version:
            self._live = live
            self._adopt(snapshot)
        self._route(snapshot)

    def _adopt(self, snapshot: Snapshot) -> None:
        """Tasks, pipelines and keys as the control plane has them."""
        document = self._config.model_dump(mode="json", by_alias=True)
        document["tasks"] = {name: task.settings for name, task in snapshot.tasks.items()}
        document["pipelines"] = snapshot.pipelines
        document["keys"] = snapshot.keys
        try:
            config = Config.model_validate(document)
            commit = self._prepare(config) if self._prepare else None
        except Exception as error:
            logger.error("the control plane's configuration is refused, the old one goes on: %s", error)
            return
        self._config = config
        if commit is not None:
            commit()

    def _route(self, snapshot: Snapshot) -> None:
        former = {replica.name: replica for replica in self._replicas}
        replicas = tuple(
            self._replica(engine, former.get(engine.name))
            for engine in snapshot.engines
            if engine.state == "ready"
        )
        everything = frozenset[str]().union(*(replica.loaded for replica in replicas))
        base = self._config.base.name
        loaded: dict[str, list[Loaded]] = {base: [Loaded(base)]} if replicas else {}
        reasons: dict[str, str] = {}
        for name, task in snapshot.tasks.items():
            loaded[name] = answering(task, everything)
            reasons[name] = next((version.reason for version in task.versions if version.reason), "")
        before, self._replicas = self._replicas, replicas
        self._only = replicas[0] if len(replicas) == 1 else None
        self.table = build_table(self._config, loaded, reasons)
        self.snapshot = snapshot
        for replica in before:
            if not any(replica.upstream is kept.upstream for kept in replicas):
                replica.upstream.close()
                self._proven_until = 0.0
        if [replica.name for replica in before] != [replica.name for replica in replicas]:
            shown = ", ".join(f"{one.name} {one.state}" for one in snapshot.engines) or "none"
            logger.info("engines: %s", shown)
        news, self.news = self.news, asyncio.Event()
        news.set()

    def _replica(self, engine: EngineStatus, former: Replica | None) -> Replica:
        loaded = frozenset((self._config.base.name, *engine.loaded))
        same = former is not None and (former.status.url, former.status.started_at, former.status.pid) == (
            engine.url,
            engine.started_at,
            engine.pid,
        )
        if former is not None and same:
            former.status = engine
            if former.loaded != loaded:
                former.loaded = loaded
                self._describe(former)
            return former
        gateway = self._config.gateway
        timeouts = Timeouts(
            connect_s=gateway.connect_timeout_s,
            first_byte_s=gateway.first_byte_timeout_s,
            idle_s=gateway.idle_timeout_s,
            total_s=gateway.total_timeout_s,
        )
        replica = Replica(engine.name, Upstream(address_of(engine.url), timeouts), engine, loaded)
        self._describe(replica)
        return replica

    def _describe(self, replica: Replica) -> None:
        task = asyncio.create_task(self._ask_models(replica))
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    async def _ask_models(self, replica: Replica) -> None:
        """What `/v1/models` says beside the names; nothing is routed by it."""
        try:
            async with asyncio.timeout(10):
                status, body = await _fetch(replica.upstream, b"/v1/models")
            replica.models = MappingProxyType(_models(status, body))
        except (RequestError, TimeoutError, ValueError, LookupError, TypeError) as error:
            logger.warning("the engine on %s does not list its models: %s", replica.upstream.address, error)


def _stopped(engine: EngineStatus) -> EngineStatus:
    return msgspec.structs.replace(engine, state="stopped", reason=GONE)


def _models(status: int, body: bytes) -> dict[str, EngineModel]:
    """What the engine lists. Raises ValueError, LookupError, TypeError where it is no such list."""
    if status != 200:
        raise ValueError(f"status {status}")
    document = json.loads(body)
    models: dict[str, EngineModel] = {}
    for entry in document["data"]:
        models[entry["id"]] = EngineModel(
            entry["id"],
            entry.get("root"),
            entry.get("parent"),
            entry.get("max_model_len"),
            entry.get("created", 0),
        )
    return models


async def _fetch(upstream: Upstream, path: bytes, body: bytes | None = None) -> tuple[int, bytes]:
    """The engine's own answer to a question of the gateway's; with a body it is posted."""
    if body is None:
        connection = await upstream.get(path)
    else:
        connection = await upstream.exchange(path, (body,), b"gateway-ready")
    try:
        pieces: list[bytes] = []
        while piece := await connection.read():
            pieces.append(piece)
        return connection.status, b"".join(pieces)
    finally:
        upstream.finish(connection)
