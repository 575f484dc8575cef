"""Adapters on their way in, up, back and out, while requests run.

An adapter is fetched, checked, copied, loaded on every engine and proven before its task points at it;
whatever fails before that leaves everything as it was.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.config.document import NAME, Config, JsonObject
from gateway.config.snapshot import PROVING, Operation
from gateway.errors import ConfigError, Unavailable
from launch.adapters.check import Adapter
from launch.adapters.versions import (
    Desired,
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
from launch.engine.engine import Keeper
from launch.machine.threads import in_thread

STARTS_WITHIN_S = 900.0


@dataclass(frozen=True)
class Addition:
    """What was asked for; `canary` is in percent, `shadow` a share from 0 to 1."""

    task: str
    source: str
    canary: float | None = None
    shadow: float | None = None
    system: str | None = None

    @classmethod
    def of(cls, fields: Mapping[str, object]) -> Addition:
        """From a request's fields. Raises ConfigError."""
        task, source, system = fields.get("task"), fields.get("source"), fields.get("system")
        if not isinstance(task, str) or not NAME.match(task):
            raise ConfigError("task", str(task), "must be letters, digits, '.', '_' or '-', at most 63")
        if not isinstance(source, str) or not source:
            raise ConfigError("source", "", "name a folder, an archive, hf://org/name or s3://bucket/folder")
        if system is not None and not isinstance(system, str):
            raise ConfigError("system", "", "must be text")
        canary, shadow = _number(fields, "canary", 100.0), _number(fields, "shadow", 1.0)
        if canary is not None and shadow is not None:
            raise ConfigError("shadow", "", "goes without a canary: first copies, then answers")
        return cls(task, source, canary, shadow, system)


def _number(fields: Mapping[str, object], name: str, most: float) -> float | None:
    value = fields.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < most:
        if name == "shadow" and value == most:
            return most
        raise ConfigError(name, str(value), f"must be a number over 0 and under {most:g}")
    return float(value)


class Plant(Protocol):
    """The supervisor, as far as intake needs it."""

    @property
    def config(self) -> Config: ...

    @property
    def desired(self) -> Desired: ...

    @property
    def configured(self) -> Desired: ...

    @property
    def keepers(self) -> Sequence[Keeper]: ...

    def take(
        self,
        task: str,
        source: str,
        key: str,
        on_stage: Callable[[str], None],
        expect: Callable[[str], None],
    ) -> Adapter:
        """Fetch, check and copy one adapter; blocking. Raises ConfigError.

        `expect` is told the id as soon as it is known, before a copy that is there already is relied on.
        """

    def commit(self, wanted: Wanted) -> None:
        """Keep a task as a command left it, and publish it."""

    def commit_removed(self, name: str) -> None: ...

    def commit_reset(self, name: str) -> None: ...

    def start_engines(self, *, force: bool = False) -> None: ...

    def expect(self, adapter_id: str, wanted: bool) -> None:
        """An id on its way in is loaded by every engine that starts meanwhile, though no task has it yet."""

    def changed(self) -> None: ...


class Intake:
    """Every change by command; one at a time for each task."""

    def __init__(self, plant: Plant) -> None:
        self._plant = plant
        self._locks: dict[str, asyncio.Lock] = {}
        self.operations: dict[int, Operation] = {}
        self._count = 0

    async def add(self, addition: Addition) -> tuple[Version, tuple[str, ...]]:
        """The version, and what its checks warn of.

        Raises ConfigError, EngineFailure, RequestError; then nothing has changed.
        """
        plant = self._plant
        taken = {plant.config.base.name, *plant.config.pipelines}
        if addition.task in taken:
            raise ConfigError("task", addition.task, "is the name of the base or of a pipeline")
        async with self._alone(addition.task), self._operation(addition) as enter:
            with self._expecting() as expect:
                return await self._add(addition, enter, expect)

    async def _add(
        self, addition: Addition, enter: Callable[[str], None], expect: Callable[[str], None]
    ) -> tuple[Version, tuple[str, ...]]:
        plant, key = self._plant, f"adapters.{addition.task}"
        enter("checking")
        adapter = await in_thread(plant.take, addition.task, addition.source, key, enter, expect)
        at = time.time()
        version = Version(
            id=adapter.id,
            path=str(adapter.path),
            rank=adapter.rank,
            size_bytes=adapter.size_bytes,
            source=addition.source,
            added_at=at,
        )
        wanted = plant.desired.get(addition.task, Wanted(addition.task))
        # Asked before anything is loaded, so that what cannot be is said at once.
        after = add_version(wanted, version, at, canary=addition.canary, shadow=addition.shadow)
        if addition.system is not None:
            settings: JsonObject = {**wanted.settings, "system": addition.system}
            after = dataclasses.replace(after, settings=settings)
        await self._load_everywhere(version, key, enter, addition.system)
        self._commit(after)
        return version, adapter.warnings

    async def promote(self, task: str, adapter_id: str | None) -> None:
        """The candidate, or the version named, gets every request once each running engine has loaded it.

        Raises NotFound, Refused, EngineFailure.
        """
        async with self._alone(task):
            after = promote(self._known(task), adapter_id, time.time())
            active = after.active
            assert active is not None
            await self._load_everywhere(active, f"adapters.{task}", lambda _: None)
            self._commit(after)

    async def rollback(self, task: str) -> None:
        """Raises NotFound, Refused, EngineFailure. At once where the earlier version is still loaded."""
        async with self._alone(task):
            after = rollback(self._known(task), time.time())
            active = after.active
            assert active is not None
            await self._load_everywhere(active, f"adapters.{task}", lambda _: None)
            self._commit(after, keep_previous=True)

    async def remove(self, task: str, adapter_id: str | None) -> None:
        """Remove the version named, or the whole task where none is named or it is the only one.

        Raises NotFound, and Refused where requests go to the version or a pipeline has the task as a stage.
        """
        async with self._alone(task):
            after = remove_version(self._known(task), adapter_id, time.time())
            if after is not None:
                self._plant.commit(after)
                return
            users = [
                name
                for name, pipeline in self._plant.config.pipelines.items()
                if any(stage.task == task for stage in pipeline.stages)
            ]
            if users:
                raise Refused(f"'{task}' is a stage of the pipeline {', '.join(users)}; change that first.")
            self._plant.commit_removed(task)

    async def reset(self, task: str) -> None:
        """Back to what the configuration says. Raises NotFound, EngineFailure."""
        async with self._alone(task):
            configured = self._plant.configured.get(task)
            if configured is None:
                self._known(task)
                raise Refused(f"'{task}' is not in the configuration; remove it instead.")
            with contextlib.ExitStack() as held:
                expect = held.enter_context(self._expecting())
                for version in configured.versions:
                    expect(version.id)
                    await self._load_everywhere(version, f"tasks.{task}.adapter", lambda _: None)
                self._plant.commit_reset(task)

    async def load(self, version: Version, key: str, system: str) -> None:
        """For a reload: on every engine that runs, as `add` does. Raises ConfigError, EngineFailure."""
        await self._load_everywhere(version, key, lambda _: None, system)

    def _known(self, task: str) -> Wanted:
        wanted = self._plant.desired.get(task)
        if wanted is None:
            raise unknown_task(task, self._plant.desired)
        return wanted

    def _commit(self, wanted: Wanted, *, keep_previous: bool = False) -> None:
        settled = wanted.candidate is None
        if settled and not keep_previous and not self._plant.config.adapters.keep_previous:
            wanted = without_previous(wanted)
        self._plant.commit(wanted)

    async def _load_everywhere(
        self, version: Version, key: str, enter: Callable[[str], None], system: str | None = None
    ) -> None:
        """On each engine that runs; where none does, one is started. What fails on one is undone on all."""
        plant = self._plant
        if not any(keeper.ready for keeper in plant.keepers):
            enter("waiting for an engine")
            plant.start_engines()
            await self._until_ready()
        new = not any(version.id in keeper.residents.proven for keeper in plant.keepers)
        try:
            for keeper in plant.keepers:
                if keeper.ready:
                    enter(f"{PROVING} on {keeper.status.name}")
                    await keeper.ensure(version, key, system)
        except BaseException:
            if new:
                for keeper in plant.keepers:
                    await keeper.unload(version.id)
            raise

    async def _until_ready(self) -> None:
        """Raises Unavailable where no engine will be ready."""
        end = time.monotonic() + STARTS_WITHIN_S
        keepers = self._plant.keepers
        while not any(keeper.ready for keeper in keepers):
            if time.monotonic() > end or not any(keeper.may_start for keeper in keepers):
                why = "; ".join(
                    f"{k.status.name}: {k.status.state} {k.status.reason}".strip() for k in keepers
                )
                raise Unavailable(
                    f"No engine is ready to prove the adapter on ({why}).", code="engine_not_ready"
                )
            await asyncio.sleep(0.1)

    @contextlib.contextmanager
    def _expecting(self) -> Iterator[Callable[[str], None]]:
        """An id that is told, from any thread, is neither unloaded nor removed until the block ends."""
        expected: list[str] = []

        def expect(adapter_id: str) -> None:
            expected.append(adapter_id)
            self._plant.expect(adapter_id, True)

        try:
            yield expect
        finally:
            for adapter_id in expected:
                self._plant.expect(adapter_id, False)

    @contextlib.asynccontextmanager
    async def _alone(self, task: str) -> AsyncIterator[None]:
        async with self._locks.setdefault(task, asyncio.Lock()):
            yield

    @contextlib.asynccontextmanager
    async def _operation(self, addition: Addition) -> AsyncIterator[Callable[[str], None]]:
        """Shown in the snapshot while it runs."""
        self._count += 1
        number = self._count
        loop = asyncio.get_running_loop()
        began = time.time()

        def show(stage: str) -> None:
            if number in self.operations or stage == "checking":
                self.operations[number] = Operation(addition.task, addition.source, stage, began)
                self._plant.changed()

        def enter(stage: str) -> None:  # from any thread
            loop.call_soon_threadsafe(show, stage)

        try:
            yield enter
        finally:
            self.operations.pop(number, None)
            self._plant.changed()
