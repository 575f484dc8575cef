"""The engines now, and the table that goes with them: swapped whole with each snapshot.

Requests read the current table and take no lock; one that has begun keeps the route that it began with.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence

import msgspec
from pydantic import ValidationError

from gateway.admission.engine_bound import EngineBound
from gateway.admission.turns.engine_slots import Able
from gateway.config.document import Config, environment
from gateway.config.live import with_snapshot, without_values
from gateway.config.secrets.engine_keys import key_of_attached, key_of_ours
from gateway.config.snapshot import EngineStatus, Snapshot, on_engine
from gateway.errors import NOT_JSON, LoraGatewayError, RequestError, Unavailable
from gateway.http.engine_connection import Owner, Timeouts
from gateway.http.engine_pool import Upstream
from gateway.routing.availability import GONE, Availability, ControlPresence
from gateway.routing.replica import EngineModel, Replica, address_of
from gateway.routing.selection import candidates
from gateway.routing.table import Route, Table, build_table, table_of, task_of
from gateway.upkeep import end_tasks

logger = logging.getLogger("gateway.routing.replicas")

DESCRIBE_S = 10.0
"""For so long an engine may take to list its models, and so long after it is asked again."""


class Replicas:
    """The engines now, and the table. `apply` is the only way in."""

    def __init__(self, config: Config, prepare: Callable[[Config], Callable[[], None]] | None = None) -> None:
        """`prepare` checks another configuration, and returns what puts it in force. Raises ConfigError."""
        self.base_name = config.base.name
        self.config = config
        """With the live sections of the last snapshot; replaced whole."""
        self._prepare = prepare
        self.ready: tuple[Replica, ...] = ()
        """Those that take requests; replaced whole."""
        self._leaving: tuple[Replica, ...] = ()
        """Draining: they end what has begun."""
        self._only: Replica | None = None
        self.are_several = True
        """Whether there is a choice, or none at all: else all that is asked goes to the only one."""
        self._context_tokens: int | None = None
        self._live: object = None
        self._asking: set[asyncio.Task[None]] = set()
        self.tokens: Counter[str] = Counter()
        """Read and made for each adapter, while there are several engines."""
        self._control = ControlPresence(time.monotonic())
        self.news = asyncio.Event()
        """Set, and replaced by another, with each change."""
        self.snapshot = Snapshot()
        self.scores_prompts = False
        """Whether every engine may be asked to score a prompt."""
        self.priorities = False
        """Whether every engine heeds a request's `priority`."""
        self.table: Table = build_table(config, {})

    @property
    def control_alive(self) -> bool:
        """Whether there is a control plane that speaks, as `control_is` was told last."""
        return self._control.alive

    @property
    def availability(self) -> Availability:
        """What can be expected of the engines now."""
        control = self._control.state(time.monotonic())
        return Availability(self.snapshot.engines, bool(self.ready), control, time.time())

    @property
    def open_connections(self) -> int:
        """Connections with an exchange on them."""
        return sum(replica.upstream.open_connections for replica in (*self.ready, *self._leaving))

    @property
    def draining(self) -> dict[str, int]:
        """Exchanges under way at engines that drain, by their names."""
        return {
            one.name: count
            for one in self._leaving
            if one.status.state == "draining" and (count := one.upstream.open_connections)
        }

    def engine_model(self, name: str | None) -> EngineModel | None:
        """What some engine's own list says of a model."""
        for one in self.ready:
            if name and name in one.models:
                return one.models[name]
        return None

    def context_tokens(self) -> int | None:
        """How long the base's context is, where an engine has told."""
        return self._context_tokens

    def _note_context(self) -> None:
        base = self.engine_model(self.base_name)
        self._context_tokens = base.max_model_len if base else None

    def break_off(self, fault: Callable[[], RequestError]) -> None:
        """End what is under way at every engine, each exchange with a fault of its own."""
        for replica in (*self.ready, *self._leaving):
            replica.upstream.break_off(fault)

    async def stop(self) -> None:
        """Cancel the looks under way, and close the idle connections to every replica."""
        await end_tasks(self._asking)
        for replica in (*self.ready, *self._leaving):
            replica.upstream.close()

    def pick(self, route: Route, prompt: msgspec.Raw | None = None, *, begun: bool = False) -> Replica:
        """An engine for a route. Raises Unavailable where none can serve it now.

        `prompt`: what it begins with may be known at one of them. `begun`: the request was let in before, so
        that an engine that drains may be the one it is for.
        """
        replica = self._only
        if replica is not None and route.adapter_id in replica.loaded:
            return replica
        able = [one for one in self.ready if route.adapter_id in one.loaded]
        if not able and begun:
            able = [one for one in self._leaving if route.adapter_id in one.loaded]
        if not able:
            raise self.unavailable(route)
        return candidates.pick(able, candidates.prefix_of(prompt))

    def seated(self, route: Route, engine: str, prompt: msgspec.Raw | None = None) -> Replica:
        """That engine, where a request has its `Admission.seat`; else as `pick` of what has begun."""
        for one in self.ready:
            if one.name == engine and route.adapter_id in one.loaded:
                return one
        return self.pick(route, prompt, begun=True)

    def choose_seat(self, able: Sequence[Able]) -> str:
        """Where an adapter goes that takes a slot, as `gateway.placement.choice` says."""
        known = {one.name: one for one in self.ready}
        found = [(known[one.name], one) for one in able if one.name in known]
        return candidates.seat(found).name if found else able[0].name

    def seats(self, engine: str) -> int:
        """Requests that it is given at once; of one that is not known, any number."""
        return next((one.bound.limit for one in self.ready if one.name == engine), sys.maxsize)

    def other(self, route: Route, tried: Sequence[Replica]) -> Replica | None:
        """An engine for a route that was not tried yet."""
        able = [one for one in self.ready if route.adapter_id in one.loaded and one not in tried]
        return candidates.pick(able) if able else None

    def failed(self, upstream: Owner, *, gone: bool = False) -> None:
        """An engine did not answer; `gone`: nothing listens there any more."""
        replica = next((one for one in self.ready if one.upstream is upstream), None)
        if replica is None:
            return
        replica.failed()
        if gone and replica.status.managed and not self.control_alive:
            # An engine of ours goes with its control plane, and nobody is left to say so.
            stopped = msgspec.structs.replace(replica.status, state="stopped", reason=GONE)
            engines = [stopped if one.name == replica.name else one for one in self.snapshot.engines]
            self._route(msgspec.structs.replace(self.snapshot, engines=engines))

    def control_is(self, alive: bool) -> None:
        """Whether there is a control plane that speaks."""
        if self._control.note(alive, time.monotonic()):
            self._announce()

    def servable(self, name: str) -> bool:
        """Whether a model can be answered now: all stages of a pipeline, or an adapter that is loaded."""
        return name in self.table.servable

    def may_come(self, name: str) -> bool:
        """Whether it makes sense to wait for a model that is not `servable`."""
        return self.availability.may_come() or (
            self._control.state(time.monotonic()) != "gone" and bool(self.ready) and self._is_to_come(name)
        )

    def _is_to_come(self, name: str) -> bool:
        """Whether an engine that takes requests is to load what the model lacks."""
        if name in self.config.pipelines:
            stages = [stage.task for stage in self.config.pipelines[name].stages]
            return all(self.servable(one) or self._is_to_come(one) for one in stages)
        task = self.snapshot.tasks.get(task_of(name))
        versions = task.versions if task else ()
        return any(
            one.state == "loading" and (one.id == name or (name == task_of(name) and one.weight > 0))
            for one in versions
        )

    def on_leaving(self, in_flight: Callable[[str], int]) -> list[str]:
        """What leaves engines and has requests there, in reports' form; `in_flight` has an adapter's in all.

        Those that began while there was one engine are not known to be at it, and taken to be at each.
        """
        replicas = (*self.ready, *self._leaving)
        return [
            on_engine(one.name, adapter_id)
            for one in replicas
            for adapter_id in one.status.leaving
            if one.visits.by_adapter[adapter_id]
            or in_flight(adapter_id) > sum(other.visits.by_adapter[adapter_id] for other in replicas)
        ]

    def unavailable(self, route: Route | None = None, *, reasons: bool | None = None) -> Unavailable:
        """The 503 that says what the engines are doing, or why none of them has the route's adapter.

        `reasons`: with why, in the engine's own words, which may hold paths and secrets; left out, where the
        gateway has no keys, and so is for this machine alone.
        """
        if reasons is None:
            reasons = not (self.config.keys or self.config.gateway.keys_required)
        if not self.ready:
            return self.availability.refusal(reasons=reasons)
        name = route.name if route else self.base_name
        why = (route.reason if route else "") or "No engine has it."
        if not reasons:
            why = f"`lora-gateway adapters show {name}` says why."
        return Unavailable(
            f"The adapter of '{name}' is not loaded. {why}", code="adapter_not_loaded", retry_after_s=5
        )

    @property
    def reached(self) -> Snapshot:
        """The snapshot with those engines alone that take requests: whoever gave out the slots of one that is
        ready and has no address would have requests for the other engines in them.
        """
        return msgspec.structs.replace(self.snapshot, engines=[one.status for one in self.ready])

    def apply(self, snapshot: Snapshot, *, heard: bool = True) -> None:
        """Route by this snapshot from now on; a configuration in it that cannot be is refused whole.

        `heard`: it came over the socket, not from a file, which may be old: keys and tenants are taken from
        it too.
        """
        live = (
            {name: task.settings for name, task in snapshot.tasks.items()},
            snapshot.pipelines,
            snapshot.keys if heard else None,
            snapshot.issued_keys,
            snapshot.tenants if heard else None,
        )
        if live != self._live and snapshot.version:
            # Kept also where it is refused: that is said once, not with each snapshot.
            self._live = live
            self._adopt(snapshot, heard)
        self._route(snapshot)

    def _adopt(self, snapshot: Snapshot, heard: bool) -> None:
        """Tasks, pipelines, keys and tenants as the control plane has them."""
        try:
            config = with_snapshot(self.config, snapshot, heard=heard)
            commit = self._prepare(config) if self._prepare else None
        except (LoraGatewayError, ValidationError) as error:
            why = without_values(error) if isinstance(error, ValidationError) else error
            logger.error("the control plane's configuration is refused, the old one goes on: %s", why)
            return
        self.config = config
        if commit is not None:
            commit()

    def _route(self, snapshot: Snapshot) -> None:
        former = {replica.name: replica for replica in (*self.ready, *self._leaving)}
        kept = [
            replica
            for engine in snapshot.engines
            if (replica := self._replica(engine, former.get(engine.name))) is not None
        ]
        replicas = tuple(replica for replica in kept if replica.status.state == "ready")
        before, self.ready = self.ready, replicas
        self._leaving = tuple(replica for replica in kept if replica not in replicas)
        self._only = replicas[0] if len(replicas) == 1 else None
        self.are_several = self._only is None
        self._note_context()
        self.table = table_of(self.config, snapshot, [replica.loaded for replica in replicas])
        self.snapshot = snapshot
        self.scores_prompts, self.priorities = snapshot.prompt_logprobs, snapshot.priorities
        self._forget_gone()
        for replica in former.values():
            replica.visits.tidy()
            if replica not in kept:
                # What is under way there goes on; its connections close as they end.
                replica.upstream.close()
        if before != replicas:
            shown = ", ".join(f"{one.name} {one.state}" for one in snapshot.engines) or "none"
            logger.info("engines: %s", shown)
        self._announce()

    def _forget_gone(self) -> None:
        """What is counted of adapters that are gone: each version is another, each report tells of all."""
        if self.tokens:
            versions = (one for task in self.snapshot.tasks.values() for one in task.versions)
            there = {"", self.base_name, *self.snapshot.retiring, *(one.id for one in versions)}
            for gone in self.tokens.keys() - there:
                del self.tokens[gone]

    def _announce(self) -> None:
        # Who waits now is woken, and who waits later waits for the next.
        news, self.news = self.news, asyncio.Event()
        news.set()

    def _replica(self, engine: EngineStatus, former: Replica | None) -> Replica | None:
        """The engine, where it takes requests or ends those that it has."""
        if engine.state not in ("ready", "draining"):
            return None
        loaded = frozenset((self.config.base.name, *engine.loaded))
        if former is not None and former.same(engine):
            former.status = engine
            if former.loaded != loaded:
                former.loaded = loaded
                self._describe(former)
            return former
        # Another process than the one that this gateway has sent something to.
        if engine.state == "draining":
            return None
        gateway = self.config.gateway
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
        upstream = Upstream(address, timeouts, engine.process, self._key_of(engine))
        seats = self.config.base.max_num_seqs if engine.managed else None
        bound = EngineBound(gateway.max_in_flight, seats)
        replica = Replica(engine.name, upstream, engine, loaded, bound=bound)
        self._describe(replica)
        return replica

    def _key_of(self, engine: EngineStatus) -> str:
        """What it asks for; the launch has made it before the engine's start."""
        if engine.managed:
            return key_of_ours(self.config)
        return key_of_attached(self.config, engine.url, environment())

    def _describe(self, replica: Replica) -> None:
        task = asyncio.create_task(self._ask_models(replica))
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    async def _ask_models(self, replica: Replica) -> None:
        while True:
            try:
                async with asyncio.timeout(DESCRIBE_S):
                    await replica.describe()
                return self._note_context()
            except (RequestError, TimeoutError, *NOT_JSON) as error:
                where = replica.upstream.address
                logger.warning("the engine on %s does not list its models: %s", where, error)
                if isinstance(error, NOT_JSON):
                    return
            await asyncio.sleep(DESCRIBE_S)
            if replica not in self.ready:
                return
