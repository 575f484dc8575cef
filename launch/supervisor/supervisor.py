"""The control plane of one configuration: engines, adapters and what is wanted of them."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Lock

from starlette.types import ASGIApp

from gateway.agreement.link import RedisLink
from gateway.audit import AuditLog
from gateway.config.document import Config, JsonObject
from gateway.config.snapshot import UPLOADS, MemoryShares, Snapshot
from gateway.errors import Unavailable
from gateway.upkeep import Upkeep
from launch.adapters.check import Adapter
from launch.adapters.sources.fetch import fetch
from launch.adapters.store import AdapterStore
from launch.adapters.versions import Desired, Version, Wanted, ids_of
from launch.base.lora_shapes import Base
from launch.engine.attached import Attached
from launch.engine.engine import say
from launch.engine.managed import Managed
from launch.engine.scoring import ProofScores
from launch.machine.signals import StopSignals
from launch.machine.threads import in_thread
from launch.planning.shares import planned_shares
from launch.supervisor.adapter_changes import AdapterChanges
from launch.supervisor.audited import Audited
from launch.supervisor.control_server import Serving, control_socket
from launch.supervisor.database import StateStore
from launch.supervisor.desired_state import DesiredState
from launch.supervisor.engines import Engines, Laid
from launch.supervisor.gateway_reports import Gateways
from launch.supervisor.placement.mover import Mover
from launch.supervisor.publisher import Publisher, least_life
from launch.supervisor.reload import ConfiguredBy, Reloading
from launch.supervisor.replicas.autoscaler import Autoscaler, rules_of
from launch.supervisor.several.shared_table import SharedTable
from launch.supervisor.snapshots import Observed, compose, without_leaving
from launch.supervisor.tenancy.issued_keys import IssuedKeys

logger = logging.getLogger("launch.supervisor.supervisor")

TICK_S = 0.5
RETIRE_WITHIN_S = 120.0
"""After so long an id is unloaded though a gateway has not said that it is free of it."""
NO_GATEWAY_GRACE_S = 1.0
KEPT_AGAIN_S = 1.0
"""To the next start of an engine whose keeper failed."""


@dataclass(frozen=True)
class Prepared:
    """What was checked before the start."""

    config: Config
    base: Base
    build: str
    """Base, type and engine: log-probabilities can be compared within one."""
    configured: Desired
    engines: tuple[Laid, ...]
    rank_limit: int | None
    """The largest rank that the engines hold."""


class Supervisor:
    """Runs in the event loop of the main thread, since engines are forked from it."""

    def __init__(
        self,
        prepared: Prepared,
        store: StateStore,
        adapters: AdapterStore,
        stop: StopSignals,
        read_config: Callable[[], Config],
        config_files: Sequence[Path],
        configured_by: ConfiguredBy,
        control_app: Callable[[Supervisor], ASGIApp],
        leader: str = "",
    ) -> None:
        """`leader`: where this is, where others stand by for it."""
        self._prepared = prepared
        self._store = store
        self._adapters = adapters
        self._stop = stop
        self._control_app = control_app
        self._leader = leader
        self._desired_state = DesiredState(prepared.config, prepared.configured, store)
        self._retiring: dict[str, float] = {}
        self._expected: Counter[str] = Counter()
        """Ids on their way in, and by how many changes."""
        self._expecting = Lock()  # ids are told in the threads that take adapters
        self.broken: dict[str, str] = {}
        self._fingerprints: dict[str, str] = {}
        self._unkept: dict[tuple[str, str], str] = {}
        self._faults: Counter[str] = Counter()
        self._memory: MemoryShares | None = None
        self._upkeep = Upkeep(self._failed)
        self.is_outlived = False
        self.gateways = Gateways()
        # From here on an earlier control plane changes nothing any more (design 109).
        life = store.next_life(1 if leader else least_life(time.time()))
        self.publisher = Publisher(prepared.config.state_dir, life, self._compose)
        self.issued_keys = IssuedKeys(store, self._desired_state, self.publisher.publish)
        rules = rules_of(prepared.config)
        first = rules.least if rules else None
        # The mover is made after the engines, whose keepers it has.
        self.engines = Engines(
            self, prepared.engines, prepared.build, first, lambda one: self.mover.homes_of(one)
        )
        self._scaler = None if rules is None else Autoscaler(rules, self.engines, self.gateways.load)
        self.mover = Mover(self, self.engines.keepers, self.gateways, self._upkeep, self.publisher.publish)
        self.changes = AdapterChanges(self, self.engines)
        self.reloading = Reloading(self, self.engines, self.changes, read_config, configured_by, config_files)

    # `launch.engine.supervisor_interface.SupervisorInterface`

    @property
    def config(self) -> Config:
        return self._desired_state.config

    @property
    def desired(self) -> Desired:
        return self._desired_state.desired

    @property
    def configured(self) -> Desired:
        return self._desired_state.configured

    @property
    def wanted_versions(self) -> list[Version]:
        return [
            version
            for wanted in self.desired.values()
            for version in wanted.versions
            if version.id not in self.broken
        ]

    def wanted_on(self, engine: str) -> list[Version]:
        return self.mover.wanted_on(engine)

    def system_of(self, version: Version) -> str:
        system = self._desired_state.settings(version.id.rpartition("@")[0], version).get("system")
        return system if isinstance(system, str) else ""

    def fingerprint(self, adapter_id: str, build: str) -> str | None:
        known = self._unkept.get((adapter_id, build)) or self._store.fingerprint(adapter_id, build)
        self._show(adapter_id, known)
        return known

    def keep_fingerprint(self, adapter_id: str, build: str, canary: str) -> None:
        """On a full disk later: an adapter that is proven is served."""
        self._unkept[adapter_id, build] = canary
        try:
            self._keep_fingerprints()
        except Unavailable as error:
            logger.error("the proof of %s is kept later: %s", adapter_id, error)
        self._show(adapter_id, canary)

    def repeats(self, setup: str) -> str | None:
        return self._store.repeats(setup)

    def keep_repeats(self, setup: str, repeats: str) -> None:
        with suppress(Unavailable):  # later proofs take longer, and that is all
            self._store.keep_repeats(setup, repeats)

    def _show(self, adapter_id: str, known: str | None) -> None:
        kept = None if known is None else ProofScores.from_json(known)
        if kept is not None:
            self._fingerprints[adapter_id] = kept.fingerprint

    async def quiet(self, timeout_s: float, engine: str) -> bool:
        version = self.publisher.publish()
        if any(keeper.status.name != engine for keeper in self.engines.ready):
            return await self.gateways.left_alone(engine, version, self.config.gateway.total_timeout_s)
        return await self.gateways.quiet(version, timeout_s)

    def hurried(self) -> bool:
        return self._stop.hurried()

    def changed(self) -> None:
        self.publisher.changed()

    def take(
        self,
        task: str,
        source: str,
        key: str,
        on_stage: Callable[[str], None],
        expect: Callable[[str], None],
    ) -> Adapter:
        settings = self.config.adapters
        scratch = self._adapters.folder
        roots = [*settings.roots, self.config.state_dir / UPLOADS]
        with fetch(source, roots, scratch, settings.max_bytes, on_stage) as staged:
            on_stage("checking")
            base, rank_limit = self._prepared.base, self._prepared.rank_limit
            taken = self._adapters.take(
                task, staged.path, base, rank_limit, key=key, origin=staged.origin, expect=expect
            )
            return dataclasses.replace(taken, warnings=staged.warnings + taken.warnings)

    def expect(self, adapter_id: str, wanted: bool) -> None:
        with self._expecting:
            self._expected[adapter_id] += 1 if wanted else -1
            if not self._expected[adapter_id]:
                del self._expected[adapter_id]
        if not wanted:
            self.retire({adapter_id})

    def commit(self, wanted: Wanted) -> None:
        with self._settling():
            self._desired_state.keep(wanted)

    def commit_removed(self, name: str) -> None:
        with self._settling():
            self._desired_state.remove(name)

    def commit_reset(self, name: str) -> None:
        with self._settling():
            self._desired_state.reset(name)

    def adopt(self, config: Config, configured: Desired) -> None:
        with self._settling():
            self._desired_state.adopt(config, configured)

    def retire(self, ids: Collection[str]) -> None:
        for adapter_id in set(ids) - ids_of(self.desired) - self._expected.keys():
            if adapter_id not in self._retiring:
                began = self._retiring[adapter_id] = time.monotonic()
                self._upkeep.once("unload", partial(self._unload_when_free, adapter_id, began))

    def diff(self) -> list[JsonObject]:
        """What commands changed, against the configuration."""
        return self._desired_state.diff()

    # Its life.

    async def run(self) -> None:
        """Until a signal asks for the end; engines that fail do not end it."""
        # In a thread: every byte of them is read, and who leads must say so each second meanwhile.
        await in_thread(self._verify_kept)
        self.publisher.publish()
        keep = self._upkeep.keep
        keepers = [keep(keeper.status.name, partial(self._keep, keeper)) for keeper in self.engines.keepers]
        keep("tick", self._tick)
        keep("reload", self.reloading.follow)
        keep("placement", self.mover.run)
        self._upkeep.once("memory", self._plan_memory)
        link = RedisLink(self.config.shared) if self.config.shared is not None else None
        if link is not None:
            settled = self._settled if self._leader else lambda: True
            table = SharedTable(
                link, self.publisher, self.gateways, self.engines.start, self._outlived, settled=settled
            )
            keep("table", table.write)
            keep("reports", table.collect)
        with control_socket(self.config.state_dir) as listener:
            app = Audited(self._control_app(self), AuditLog(self.config.state_dir))
            keep("socket", Serving(app, self.config.state_dir, listener).run)
            try:
                await self._until_asked()
            finally:  # engines end in their own time, gateways hear of it, and then the socket goes
                self.engines.halt(leave=self.is_outlived)
                await asyncio.gather(*keepers, return_exceptions=True)
                self.publisher.publish()
                await self._upkeep.stop()
                if link is not None:
                    await link.close()

    async def _until_asked(self) -> None:
        while not self._stop.asked() and not self.is_outlived:
            if self._stop.reload_asked():
                self._upkeep.once("reload by signal", self.reloading.try_reload)
            await asyncio.sleep(0.05)

    async def _keep(self, keeper: Managed | Attached) -> None:
        try:
            await keeper.run()
        except Exception:
            keeper.update(
                state="failed",
                reason="its keeper failed; see the log",
                pid=0,
                loaded=[],
                next_try_at=time.time() + KEPT_AGAIN_S,
            )
            raise

    async def _plan_memory(self) -> None:
        """Once: what is planned hangs on what the engines were started with."""
        self._memory = await in_thread(planned_shares, self.config)
        self.publisher.changed()

    async def _tick(self) -> None:
        """What depends on time alone: engines that nobody uses."""
        limit = self.config.base.idle_unload
        ready_at: dict[str, float] = {}
        while True:
            await asyncio.sleep(TICK_S)
            with suppress(sqlite3.Error):  # locked, or its folder is away: then nothing can be changed either
                if self._store.outlived():
                    self._outlived()
            with suppress(Unavailable):  # it was said when it came
                self._keep_fingerprints()
            if self._scaler is not None:
                self._scaler.look()
            for keeper in self.engines.keepers:
                name = keeper.status.name
                if not keeper.ready:
                    ready_at.pop(name, None)
                    continue
                since = ready_at.setdefault(name, time.monotonic())
                if limit != "never" and not self.changes.operations and self.gateways.idle_s(since) >= limit:
                    keeper.idle()

    def _outlived(self) -> None:
        if not self.is_outlived:
            self.is_outlived = True
            say("another control plane has taken over; this one ends")

    def _settled(self) -> bool:
        """Whether each engine has been looked at: it serves, or it is known why not."""
        return all(one.ready or one.status.state != "starting" for one in self.engines.keepers)

    def _failed(self, name: str) -> None:
        self._faults[name] += 1
        self.changed()

    def _keep_fingerprints(self) -> None:
        """Raises Unavailable where the disk does not take them yet."""
        for (adapter_id, build), canary in list(self._unkept.items()):
            self._store.keep_fingerprint(adapter_id, build, canary)
            del self._unkept[adapter_id, build]

    @contextmanager
    def _settling(self) -> Iterator[None]:
        """Around a change of what is wanted: published before ids go, so that nobody is sent to those."""
        before, configured = ids_of(self.desired), ids_of(self.configured)
        yield
        # Unloading begins a turn later. The snapshot below names what leaves, and gateways report on that.
        self.retire(before | configured - ids_of(self.configured))  # of the second there may be copies alone
        for adapter_id in ids_of(self.desired):
            self._retiring.pop(adapter_id, None)
        self.publisher.publish()

    async def _unload_when_free(self, adapter_id: str, began: float) -> None:
        version = self.publisher.publish()
        await asyncio.sleep(NO_GATEWAY_GRACE_S)  # who is not heard looks for socket and file each 0.2 s
        if not await self.gateways.until_released(adapter_id, version, RETIRE_WITHIN_S):
            say(f"{adapter_id} is unloaded though it still has requests after {RETIRE_WITHIN_S:.0f} s")
        if self._retiring.get(adapter_id) != began:
            return  # it is wanted again, or leaves anew: gateways may have sent requests to it between
        del self._retiring[adapter_id]
        if adapter_id not in self._expected:
            await self.engines.unload(adapter_id, lambda: ids_of(self.desired) | self._expected.keys())
            kept = ids_of(self.desired) | ids_of(self.configured)  # `reset` needs the second
            if adapter_id not in kept | self._expected.keys():
                # A leader that begins meanwhile may want this copy.
                with suppress(Unavailable), self._store.only_ours():
                    self._adapters.remove(adapter_id, self._expected)
        self.changed()

    def _verify_kept(self) -> None:
        """Adapters that commands added are where they were, and what they were."""
        for version in self._desired_state.by_command:
            if not self._adapters.verify(version.id):
                reason = "its copy in the state directory is gone or changed; add it again"
                self.broken[version.id] = reason
                say(f"{version.id} failed: {reason}")
        self._adapters.sweep(ids_of(self.desired) | ids_of(self.configured))

    def _compose(self, version: int) -> Snapshot:
        observed = Observed(
            engines=[
                without_leaving(keeper.status, self.mover.leaving(keeper.status.name))
                for keeper in self.engines.keepers
            ],
            failures={**self.engines.failures, **self.broken},
            fingerprints=self._fingerprints,
            retiring=self._retiring,
            operations=[*self.changes.operations.values(), *self.mover.operations.values()],
            to_come=self.mover.to_come(),
            faults=self._faults,
            memory=self._memory,
            leader=self._leader,
        )
        return compose(version, self._desired_state, observed, self.issued_keys.settings)
