"""What the keepers of engines have in common: the status that is published, and adapters kept in step."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress

import msgspec

from gateway.config import process
from gateway.config.snapshot import EngineStatus
from gateway.errors import EngineFailure, LoraGatewayError
from launch.adapters.versions import Version
from launch.engine.loaded_adapters import EngineCalls, LoadedAdapters, Wanting
from launch.engine.repeats import Remembered
from launch.engine.scoring import ProofScores
from launch.engine.states import Event, after
from launch.engine.supervisor_interface import SupervisorInterface
from launch.machine.threads import in_thread

logger = logging.getLogger("launch.engine.engine")


def say(text: str) -> None:
    """A line for the person who started it, apart from the engine's own log."""
    process.say(f"engine: {text}")


class Keeper:
    """One engine: its state, its adapters. Subclasses run it, or follow one that somebody else runs."""

    def __init__(
        self,
        host: SupervisorInterface,
        status: EngineStatus,
        build: str,
        calls: EngineCalls | None = None,
        setup: str = "",
    ) -> None:
        """`setup`: all that its rounding may hang on, which what is seen of it is kept by; or empty."""
        self.host = host
        self.status = status
        self._build = build
        self._setup = setup
        self.adapters = LoadedAdapters(status.url, host.config.base.name, calls, reads=status.prompt_logprobs)
        self._one_at_a_time = asyncio.Lock()

    @property
    def ready(self) -> bool:
        return self.status.state == "ready"

    @property
    def may_start(self) -> bool:
        """Whether it will be ready, or would be if it were asked."""
        status = self.status
        if status.state in ("ready", "starting", "sleeping"):
            return True
        return status.lazy if status.state in ("stopped", "draining") else status.next_try_at is not None

    def update(self, **changes: object) -> None:
        """Change what is known of it, and say so."""
        self.status = msgspec.structs.replace(self.status, **changes)
        self.host.changed()

    def enter(self, event: Event, **changes: object) -> None:
        """Go to the state that `event` leads to. Raises ValueError where it cannot come now."""
        self.update(state=after(self.status.state, event), **changes)

    async def ensure(self, version: Version, key: str, system: str | None = None) -> ProofScores:
        """Load and prove one adapter on the running engine. Raises ConfigError, EngineFailure.

        `system` is the prompt that its task will have, where that is not what the task has now.
        """
        async with self._one_at_a_time:
            wanting = self._wanting(version, key, system)
            kept = await in_thread(self.adapters.ensure, wanting)
            if self.ready and not self.adapters.proved_mixed:
                await self._prove_mixed_late(version)
            self._keep([wanting])
        self._publish_loaded()
        return kept

    async def unload(self, adapter_id: str) -> None:
        """Unload one adapter; an engine that is gone has none."""
        async with self._one_at_a_time:
            with suppress(EngineFailure):
                await in_thread(self.adapters.unload, adapter_id)
        self._publish_loaded()

    async def missing(self) -> set[str]:
        """Proven ids that the engine no longer serves. Raises EngineFailure.

        Not while one is unloaded: it is gone from the engine a moment before it is known to be.
        """
        async with self._one_at_a_time:
            return await in_thread(self.adapters.missing)

    async def prove(self) -> None:
        """Base, then every wanted adapter; one that fails is marked, and the others are served.

        Raises EngineFailure where the base does not work, or a batch mixes answers up.
        """
        base = self.host.config.base.name
        self.update(stage=f"proving {base}")
        kept = self.host.repeats(self._setup) if self._setup else None
        before = None if kept is None else Remembered.from_json(kept)
        await in_thread(self.adapters.begin, before)
        await self.catch_up()

    async def catch_up(self) -> None:
        """Load and prove what is wanted, and unload what is not any more, while the engine is not ready.

        Changes made meanwhile pass such an engine over, so this goes on until there are none. It returns
        without giving way: what its caller does next comes before another change. Raises EngineFailure.
        """
        proven, failed = self.adapters.proven, self.adapters.failed
        stuck: set[str] = set()
        while True:
            wanted = {version.id: version for version in self.host.wanted_on(self.status.name)}
            gone = proven.keys() - wanted.keys() - stuck
            fresh = wanted.keys() - proven.keys() - failed.keys()
            if not gone and not fresh:
                return
            for adapter_id in gone:
                await self.unload(adapter_id)
            stuck |= gone & proven.keys()  # what it does not let go of, or this would never end
            if fresh:
                wanting = [
                    self._wanting(version, f"tasks.{adapter_id.rpartition('@')[0]}.adapter")
                    for adapter_id, version in wanted.items()
                    if adapter_id in fresh
                ]
                await self._ensure_all(wanting)
                self.update(stage="proving a mixed batch")
                async with self._one_at_a_time:
                    await in_thread(self.adapters.prove_mixed, self.status.slots)
                    self._keep(wanting)

    async def _ensure_all(self, wanted: Sequence[Wanting]) -> None:
        """In rounds that they share, then one by one what those did not prove."""
        if len(wanted) > 1:
            self.update(stage=f"proving {', '.join(one.version.id for one in wanted)}")
            async with self._one_at_a_time:
                await in_thread(self.adapters.ensure_together, wanted, self.status.slots)
                self._keep(wanted)
        for one in wanted:
            if one.version.id in self.adapters.proven:
                continue
            self.update(stage=f"proving {one.version.id}")
            try:
                await self.ensure(one.version, one.key, one.system)
            except LoraGatewayError as error:
                say(f"{one.version.id} failed: {error}")
        self._publish_loaded()

    def _wanting(self, version: Version, key: str, system: str | None = None) -> Wanting:
        known = self.host.fingerprint(version.id, self._build)
        return Wanting(version, key, self.host.system_of(version) if system is None else system, known)

    def _keep(self, wanted: Sequence[Wanting]) -> None:
        """What their proofs showed, where that is new, and how the engine repeated itself in them."""
        for wanting in wanted:
            adapter_id, expected = wanting.version.id, wanting.expected
            scores = self.adapters.proven.get(adapter_id)
            if scores is None:
                continue
            # The second once it has written: a mixed batch, where it does so first, may come after its proof.
            if expected is None or expected == scores.unwritten():
                self.host.keep_fingerprint(adapter_id, self._build, scores.to_json())
        if self._setup and self.adapters.repeats is not None:
            self.host.keep_repeats(self._setup, self.adapters.repeats.remembered().to_json())

    async def _prove_mixed_late(self, first: Version) -> None:
        """An engine that started without adapters could not be proven with them then."""
        try:
            await in_thread(self.adapters.prove_mixed, self.status.slots)
        except EngineFailure:
            with suppress(EngineFailure):
                await in_thread(self.adapters.unload, first.id)
            raise

    def _publish_loaded(self) -> None:
        loaded = sorted(self.adapters.proven)
        if loaded != self.status.loaded:
            self.update(loaded=loaded, adapter_loads=dict(self.adapters.loads))
