"""The engines now, and the table that goes with them: swapped whole with each snapshot.

Requests read the current table and take no lock; one that has begun keeps the route that it began with.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections.abc import Callable, Sequence

import msgspec
from pydantic import ValidationError

from gateway.config.document import Config
from gateway.config.live import with_snapshot, without_values
from gateway.config.snapshot import PROVING, EngineStatus, Snapshot, TaskStatus
from gateway.errors import NOT_JSON, LoraGatewayError, RequestError, Unavailable
from gateway.http.engine_connection import Owner, Timeouts
from gateway.http.engine_pool import Upstream
from gateway.routing.replica import PROBE_S, EngineModel, Replica, address_of
from gateway.routing.table import Loaded, Route, Table, build_table, versions_of

logger = logging.getLogger("gateway.routing.replicas")

READY_FOR_S = 2.0
"""A completion that worked answers `/ready` for this long."""
APPEARS_WITHIN_S = 15.0
"""Both programs are started together as a rule, and the control plane takes a few seconds more."""
RETURNS_WITHIN_S = 5.0
"""A control plane that is gone for less only changed places: who waits for an engine goes on waiting."""
GONE = "the control plane is gone, and the engine with it"
WAITABLE = ("starting", "sleeping")


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
        self._leaving: tuple[Replica, ...] = ()
        """Draining: they end what has begun."""
        self._only: Replica | None = None
        self._live: object = None
        self._proving: asyncio.Task[bool] | None = None
        self._asking: set[asyncio.Task[None]] = set()
        self._proven_until = 0.0
        self._hoped_until = -math.inf
        self._heard = False
        self._appears_until = time.monotonic() + APPEARS_WITHIN_S
        self.news = asyncio.Event()
        """Set, and replaced by another, with each change."""
        self.snapshot = Snapshot()
        self.control_alive = False
        """Told by `control_is`."""
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
        return sum(replica.upstream.open_connections for replica in (*self._replicas, *self._leaving))

    def engine_model(self, name: str | None) -> EngineModel | None:
        """What some engine's own list says of a model."""
        return next((one.models[name] for one in self._replicas if name and name in one.models), None)

    def context_tokens(self) -> int | None:
        """How long the base's context is, where an engine has told."""
        name, only = self._config.base.name, self._only
        base = self.engine_model(name) if only is None else only.models.get(name)
        return base.max_model_len if base else None

    async def stop(self) -> None:
        """Cancel the looks and proofs under way, and close the idle connections to every replica."""
        tasks = [*self._asking, *([self._proving] if self._proving else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for replica in (*self._replicas, *self._leaving):
            replica.upstream.close()

    def pick(self, route: Route, *, begun: bool = False) -> Replica:
        """An engine for a route. Raises Unavailable where none can serve it now.

        `begun`: the request was let in before, so that an engine that drains may be the one it is for.
        """
        replica = self._only
        if replica is not None and route.adapter_id in replica.loaded:
            return replica
        able = [one for one in self._replicas if route.adapter_id in one.loaded]
        if not able and begun:
            able = [one for one in self._leaving if route.adapter_id in one.loaded]
        if not able:
            raise self.unavailable(route)
        return self._choose(able)

    def other(self, route: Route, tried: Sequence[Replica]) -> Replica | None:
        """An engine for a route that was not tried yet."""
        able = [one for one in self._replicas if route.adapter_id in one.loaded and one not in tried]
        return self._choose(able) if able else None

    def _choose(self, able: Sequence[Replica]) -> Replica:
        """The least in flight, by chance where several are; the ejected last.

        Not in turn: who asks twice for one request, or asks as several workers do, would fall into step.
        """
        now = time.monotonic()
        well = [replica for replica in able if replica.ejected_until <= now] or able
        least = min(replica.upstream.open_connections for replica in well)
        return random.choice([one for one in well if one.upstream.open_connections == least])

    def failed(self, upstream: Owner, *, gone: bool = False) -> None:
        """An engine did not answer; `gone`: nothing listens there any more."""
        replica = next((one for one in self._replicas if one.upstream is upstream), None)
        if replica is None:
            return
        replica.failed()
        if gone and replica.status.managed and not self.control_alive:
            # An engine of ours goes with its control plane, and nobody is left to say so.
            engines = [
                _stopped(engine) if engine.name == replica.name else engine
                for engine in self.snapshot.engines
            ]
            self._route(msgspec.structs.replace(self.snapshot, engines=engines))

    def control_is(self, alive: bool) -> None:
        """Whether there is a control plane that speaks."""
        self._heard = self._heard or alive
        if alive != self.control_alive:
            self.control_alive = alive
            self._hoped_until = math.inf if alive else time.monotonic() + RETURNS_WITHIN_S
            self._announce()

    def servable(self, name: str) -> bool:
        """Whether a model can be answered now: all stages of a pipeline, or an adapter that is loaded."""
        route = self.table.get(name)
        if route is None:
            return False
        if route.kind == "pipeline":
            return all(self.servable(stage.task) for stage in self._config.pipelines[name].stages)
        return route.adapter_id is not None

    def may_come(self) -> bool:
        """Whether waiting makes sense: no engine is ready, and one will be or would be if it were asked."""
        if not self._heard and time.monotonic() < self._appears_until:
            # Nothing is known yet, or what an earlier control plane said at its end.
            return all(one.state == "stopped" and one.reason != GONE for one in self.snapshot.engines)
        if self._replicas or time.monotonic() > self._hoped_until:
            return False
        return any(
            engine.state in WAITABLE
            or engine.next_try_at is not None
            or (engine.lazy and engine.state in ("stopped", "draining"))
            or engine.reason == GONE
            for engine in self.snapshot.engines
        )

    def wants_start(self) -> bool:
        """Whether somebody has to ask for an engine."""
        return any(
            engine.state == "sleeping" or (engine.lazy and engine.state in ("stopped", "draining"))
            for engine in self.snapshot.engines
        )

    def slots(self) -> tuple[int | None, int]:
        """Adapters that may be asked for at once (None where an engine says nothing), and how many are.

        While an adapter is proven one slot is left to it: vLLM would hold its canary back for as long as
        requests keep every slot.
        """
        sizes = [replica.status.slots for replica in self._replicas]
        known = [size for size in sizes if size is not None]
        asked = {
            version.id
            for task in self.snapshot.tasks.values()
            for version in task.versions
            if version.weight or (task.shadow and task.shadow.id == version.id)
        }
        if not known or len(known) < len(sizes):
            return None, len(asked)
        proving = any(one.stage.startswith(PROVING) for one in self.snapshot.operations)
        return max(1, min(known) - proving), len(asked)

    def stage(self) -> tuple[str, float]:
        """What the engine that comes is doing, and the seconds that it has taken so far."""
        for engine in self.snapshot.engines:
            if engine.state == "starting":
                return engine.stage or "starting", max(0.0, time.time() - engine.started_at)
        return "waiting for a start", 0.0

    def rest_s(self) -> int:
        """Seconds until an engine is ready, by how long its last start took.

        One that has taken longer than that is given a tenth of its time so far: it may be nearly there.
        """
        rests = []
        for engine in self.snapshot.engines:
            load_s = engine.load_s or 60.0
            if engine.state == "starting":
                running_s = max(0.0, time.time() - engine.started_at)
                load_s = max(load_s - running_s, running_s / 10)
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
        if not self._replicas:
            return False
        if time.monotonic() < self._proven_until:
            return True
        if self._proving is None or self._proving.done():
            self._proving = asyncio.create_task(self._prove(self._replicas))
        return await asyncio.shield(self._proving)

    async def _prove(self, replicas: Sequence[Replica]) -> bool:
        """All are asked together: one that hangs must not hide that another is well."""
        base = self._config.base.name
        asked = [asyncio.create_task(replica.completes(base)) for replica in replicas]
        try:
            async with asyncio.timeout(PROBE_S):
                for answer in asyncio.as_completed(asked):
                    if await answer:
                        self._proven_until = time.monotonic() + READY_FOR_S
                        return True
        except TimeoutError:
            pass
        finally:
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)
        return False

    def apply(self, snapshot: Snapshot, *, heard: bool = True) -> None:
        """Route by this snapshot from now on; a configuration in it that cannot be is refused whole.

        `heard`: it came over the socket, not from a file, which may be old: keys are taken from it too.
        """
        live = (
            {name: task.settings for name, task in snapshot.tasks.items()},
            snapshot.pipelines,
            snapshot.keys if heard else None,
            snapshot.issued_keys,
        )
        if live != self._live and snapshot.version:
            self._live = live
            self._adopt(snapshot, heard)
        self._route(snapshot)

    def _adopt(self, snapshot: Snapshot, heard: bool) -> None:
        """Tasks, pipelines and keys as the control plane has them."""
        try:
            config = with_snapshot(self._config, snapshot, heard=heard)
            commit = self._prepare(config) if self._prepare else None
        except (LoraGatewayError, ValidationError) as error:
            why = without_values(error) if isinstance(error, ValidationError) else error
            logger.error("the control plane's configuration is refused, the old one goes on: %s", why)
            return
        self._config = config
        if commit is not None:
            commit()

    def _route(self, snapshot: Snapshot) -> None:
        former = {replica.name: replica for replica in (*self._replicas, *self._leaving)}
        kept = [
            replica
            for engine in snapshot.engines
            if (replica := self._replica(engine, former.get(engine.name))) is not None
        ]
        replicas = tuple(replica for replica in kept if replica.status.state == "ready")
        everything = frozenset[str]().union(*(replica.loaded for replica in replicas))
        base = self._config.base.name
        loaded: dict[str, list[Loaded]] = {base: [Loaded(base)]} if replicas else {}
        reasons: dict[str, str] = {}
        for name, task in snapshot.tasks.items():
            if name not in self._config.tasks:
                continue  # of a configuration that was refused; it may be the base's name
            loaded[name] = answering(task, everything)
            reasons[name] = next((version.reason for version in task.versions if version.reason), "")
        before, self._replicas = self._replicas, replicas
        self._leaving = tuple(replica for replica in kept if replica not in replicas)
        self._only = replicas[0] if len(replicas) == 1 else None
        self.table = build_table(
            self._config, loaded, reasons, versions_of(snapshot, everything, bool(replicas))
        )
        self.snapshot = snapshot
        for replica in former.values():
            if replica not in kept:
                replica.upstream.close()
        if before != replicas:
            self._proven_until = 0.0
            shown = ", ".join(f"{one.name} {one.state}" for one in snapshot.engines) or "none"
            logger.info("engines: %s", shown)
        self._announce()

    def _announce(self) -> None:
        news, self.news = self.news, asyncio.Event()
        news.set()

    def _replica(self, engine: EngineStatus, former: Replica | None) -> Replica | None:
        """The engine, where it takes requests or ends those that it has."""
        if engine.state not in ("ready", "draining"):
            return None
        loaded = frozenset((self._config.base.name, *engine.loaded))
        if former is not None and former.same(engine):
            former.status = engine
            if former.loaded != loaded:
                former.loaded = loaded
                self._describe(former)
            return former
        if engine.state == "draining":
            return None
        gateway = self._config.gateway
        timeouts = Timeouts(
            connect_s=gateway.connect_timeout_s,
            first_byte_s=gateway.first_byte_timeout_s,
            idle_s=gateway.idle_timeout_s,
            total_s=gateway.total_timeout_s,
        )
        try:
            address = address_of(engine.url)
        except ValueError as error:
            logger.error("%s cannot be reached: %s", engine.name, error)
            return None
        replica = Replica(engine.name, Upstream(address, timeouts, engine.process), engine, loaded)
        self._describe(replica)
        return replica

    def _describe(self, replica: Replica) -> None:
        task = asyncio.create_task(self._ask_models(replica))
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    async def _ask_models(self, replica: Replica) -> None:
        try:
            async with asyncio.timeout(10):
                await replica.describe()
        except (RequestError, TimeoutError, *NOT_JSON, LookupError, TypeError) as error:
            logger.warning("the engine on %s does not list its models: %s", replica.upstream.address, error)


def _stopped(engine: EngineStatus) -> EngineStatus:
    return msgspec.structs.replace(engine, state="stopped", reason=GONE)
