"""Adapters on their way in, up, back and out, while requests run.

An adapter is fetched, checked, copied, loaded on every engine and proven before its task points at it;
whatever fails before that leaves everything as it was.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from weakref import WeakValueDictionary

from gateway.config.document import JsonObject, checked_name
from gateway.config.snapshot import UPLOADS, Operation
from gateway.errors import ConfigError
from launch.adapters.sources import SOURCES
from launch.adapters.versions import (
    Refused,
    Version,
    Wanted,
    add_version,
    promote,
    remove_version,
    rollback,
    unknown_task,
    without_previous,
)
from launch.engine.supervisor_interface import SupervisorInterface
from launch.machine.threads import in_thread
from launch.supervisor.engines import Engines
from launch.supervisor.tenancy.quotas import check_quota, check_source


@dataclass(frozen=True)
class Addition:
    """What was asked for; `canary` is in percent, `shadow` a share from 0 to 1."""

    task: str
    source: str
    canary: float | None = None
    shadow: float | None = None
    system: str | None = None
    tenant: str | None = None
    """Whose operator asked for it; None where no quota holds."""

    @classmethod
    def of(cls, fields: Mapping[str, object]) -> Addition:
        """From a request's fields. Raises ConfigError."""
        source, system = fields.get("source"), fields.get("system")
        task = checked_name("task", fields.get("task"))
        if not isinstance(source, str) or not source:
            raise ConfigError("source", "", f"name {SOURCES}")
        if system is not None and not isinstance(system, str):
            raise ConfigError("system", "", "must be text")
        canary, shadow = _number(fields, "canary", 100.0), _number(fields, "shadow", 1.0)
        if canary is not None and shadow is not None:
            raise ConfigError("shadow", "", "goes without a canary: first copies, then answers")
        tenant = fields.get("tenant")
        return cls(task, source, canary, shadow, system, None if tenant is None else str(tenant))


def _number(fields: Mapping[str, object], name: str, most: float) -> float | None:
    value = fields.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < most:
        if name == "shadow" and value == most:
            return most
        raise ConfigError(name, str(value), f"must be a number over 0 and under {most:g}")
    return float(value)


class AdapterChanges:
    """Every change by command; one at a time for each task."""

    def __init__(self, supervisor: SupervisorInterface, engines: Engines) -> None:
        self._supervisor = supervisor
        self._engines = engines
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        """As long as somebody has one, or waits for it: names are whatever somebody writes."""
        self.operations: dict[int, Operation] = {}
        self._count = 0

    async def add(self, addition: Addition) -> tuple[Version, tuple[str, ...]]:
        """The version, and what its checks warn of.

        Raises ConfigError, EngineFailure, RequestError; then nothing has changed.
        """
        config = self._supervisor.config
        taken = {config.base.name, *config.pipelines}
        if addition.task in taken:
            raise ConfigError("task", addition.task, "is the name of the base or of a pipeline")
        async with contextlib.AsyncExitStack() as held:
            if addition.tenant is not None:  # one at a time, so that two never pass one quota together
                check_source(config.tenant(addition.tenant), addition.source, config.state_dir / UPLOADS)
                await held.enter_async_context(self.alone(f"\0{addition.tenant}"))  # no task's name
            await held.enter_async_context(self.alone(addition.task))
            enter = await held.enter_async_context(self._operation(addition))
            expect = held.enter_context(expecting(self._supervisor))
            return await self._add(addition, enter, expect)

    async def _add(
        self, addition: Addition, enter: Callable[[str], None], expect: Callable[[str], None]
    ) -> tuple[Version, tuple[str, ...]]:
        supervisor, key = self._supervisor, f"adapters.{addition.task}"
        enter("checking")
        adapter = await in_thread(supervisor.take, addition.task, addition.source, key, enter, expect)
        at = time.time()
        wanted = supervisor.desired.get(addition.task, Wanted(addition.task))
        given: JsonObject = {} if addition.system is None else {"system": addition.system}
        version = Version(
            id=adapter.id,
            path=str(adapter.path),
            rank=adapter.rank,
            size_bytes=adapter.size_bytes,
            source=addition.source,
            added_at=at,
            settings={**wanted.settings, **given},
        )
        known = wanted.version(adapter.id)
        if supervisor.broken.pop(adapter.id, None) and known is not None:  # its copy is whole again
            await self._engines.load(known, key, enter)
            return known, adapter.warnings
        # Asked before anything is loaded, so that what cannot be is said at once.
        after = add_version(wanted, version, at, canary=addition.canary, shadow=addition.shadow)
        if addition.tenant is not None:
            quota = supervisor.config.tenant(addition.tenant)
            check_quota(quota, addition.tenant, {**supervisor.desired, addition.task: after})
        active, system_of = wanted.active, supervisor.system_of
        if active is not None and after.candidate is not None and system_of(version) != system_of(active):
            raise ConfigError("system", "", "is the whole task's, so add this one without a canary or shadow")
        await self._engines.load(version, key, enter)
        self._commit(after)
        return version, adapter.warnings

    async def promote(self, task: str, adapter_id: str | None) -> None:
        """The candidate, or the version named, gets every request once each running engine has loaded it.

        Raises NotFound, Refused, EngineFailure.
        """
        async with self.alone(task):
            after = promote(self._known(task), adapter_id, time.time())
            active = after.active
            assert active is not None
            await self._engines.load(active, f"adapters.{task}")
            self._commit(after)

    async def rollback(self, task: str) -> None:
        """Raises NotFound, Refused, EngineFailure. At once where the earlier version is still loaded."""
        async with self.alone(task):
            after = rollback(self._known(task), time.time())
            active = after.active
            assert active is not None
            await self._engines.load(active, f"adapters.{task}")
            self._commit(after, keep_previous=True)

    async def remove(self, task: str, adapter_id: str | None) -> None:
        """Remove the version named, or the whole task where none is named or it is the only one.

        Raises NotFound, and Refused where requests go to the version or a pipeline has the task as a stage.
        """
        async with self.alone(task):
            after = remove_version(self._known(task), adapter_id, time.time())
            if after is not None:
                self._supervisor.commit(after)
                return
            users = [
                name
                for name, pipeline in self._supervisor.config.pipelines.items()
                if any(stage.task == task for stage in pipeline.stages)
            ]
            if users:
                raise Refused(f"'{task}' is a stage of the pipeline {', '.join(users)}; change that first.")
            self._supervisor.commit_removed(task)

    async def reset(self, task: str) -> None:
        """Back to what the configuration says. Raises NotFound, EngineFailure."""
        async with self.alone(task):
            configured = self._supervisor.configured.get(task)
            if configured is None:
                self._known(task)
                raise Refused(f"'{task}' is not in the configuration; remove it instead.")
            with contextlib.ExitStack() as held:
                expect = held.enter_context(expecting(self._supervisor))
                for version in configured.versions:
                    expect(version.id)
                    await self._engines.load(version, f"tasks.{task}.adapter")
                self._supervisor.commit_reset(task)

    def _known(self, task: str) -> Wanted:
        wanted = self._supervisor.desired.get(task)
        if wanted is None:
            raise unknown_task(task, self._supervisor.desired)
        return wanted

    def _commit(self, wanted: Wanted, *, keep_previous: bool = False) -> None:
        settled = wanted.candidate is None
        if settled and not keep_previous and not self._supervisor.config.adapters.keep_previous:
            wanted = without_previous(wanted)
        self._supervisor.commit(wanted)

    @contextlib.asynccontextmanager
    async def alone(self, task: str) -> AsyncIterator[None]:
        """No other change of that task within the block."""
        lock = self._locks.get(task)
        if lock is None:
            lock = self._locks[task] = asyncio.Lock()
        async with lock:
            yield

    @contextlib.asynccontextmanager
    async def _operation(self, addition: Addition) -> AsyncIterator[Callable[[str], None]]:
        """Shown in the snapshot while it runs."""
        self._count += 1
        number = self._count
        loop = asyncio.get_running_loop()
        began = time.time()

        def show(stage: str) -> None:
            if number in self.operations or stage == "checking":  # a thread may outlive its operation
                self.operations[number] = Operation(addition.task, addition.source, stage, began)
                self._supervisor.changed()

        def enter(stage: str) -> None:  # from any thread
            loop.call_soon_threadsafe(show, stage)

        try:
            yield enter
        finally:
            self.operations.pop(number, None)
            self._supervisor.changed()


@contextlib.contextmanager
def expecting(supervisor: SupervisorInterface) -> Iterator[Callable[[str], None]]:
    """An id that is told, from any thread, is neither unloaded nor removed until the block ends."""
    expected: list[str] = []

    def expect(adapter_id: str) -> None:
        expected.append(adapter_id)
        supervisor.expect(adapter_id, True)

    try:
        yield expect
    finally:
        for adapter_id in expected:
            supervisor.expect(adapter_id, False)
