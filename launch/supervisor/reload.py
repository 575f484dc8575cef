"""The configuration again while everything runs: taken whole, or refused whole."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from gateway.config.document import Config
from gateway.errors import ConfigError, LoraGatewayError
from launch.adapters.versions import Desired, ids_of
from launch.engine.engine import say
from launch.engine.supervisor_interface import SupervisorInterface
from launch.machine.threads import in_thread
from launch.supervisor.adapter_changes import AdapterChanges, expecting
from launch.supervisor.desired_state import LIVE
from launch.supervisor.engines import Engines

logger = logging.getLogger("launch.supervisor.reload")

LOOK_EVERY_S = 1.0
ConfiguredBy = Callable[[Config, Callable[[str], None]], Desired]


class Reloading:
    """One reload at a time.

    `read` gives the configuration as it stands in its file now, `configured_by` the tasks of one, each
    adapter checked and its id told before it is relied on; both block and raise ConfigError.
    """

    def __init__(
        self,
        supervisor: SupervisorInterface,
        engines: Engines,
        changes: AdapterChanges,
        read: Callable[[], Config],
        configured_by: ConfiguredBy,
        files: Sequence[Path],
    ) -> None:
        self._supervisor = supervisor
        self._engines = engines
        self._changes = changes
        self._read = read
        self._configured_by = configured_by
        self._files = files
        self._lock = asyncio.Lock()
        self._stamps = self._look()
        self._broken_off = False
        """The last was, for an engine's sake and not the configuration's."""

    async def reload(self) -> dict[str, object]:
        """What changed, and what waits for the next start.

        Raises ConfigError, EngineFailure; then nothing has changed.
        """
        async with self._lock:
            # Before it is read: what is written while it is read is another change.
            self._stamps, self._broken_off = self._look(), False
            supervisor, engines = self._supervisor, self._engines
            config = await in_thread(self._read)
            # What is on its way in may be on its way out still: without that it would go on leaving.
            async with contextlib.AsyncExitStack() as held:
                expect = held.enter_context(expecting(supervisor))
                known = ids_of(supervisor.desired) | ids_of(supervisor.configured)

                def tell(adapter_id: str) -> None:
                    if adapter_id not in known:
                        expect(adapter_id)

                configured = await in_thread(self._configured_by, config, tell)
                before = supervisor.configured
                for name in sorted({*configured, *before}):
                    if configured.get(name) != before.get(name):  # a command might go by what is to leave
                        await held.enter_async_context(self._changes.alone(name))
                desired = supervisor.desired
                fresh = [
                    (name, version)
                    for name, wanted in configured.items()
                    if desired.get(name) == before.get(name)  # else a command's change goes on
                    for version in wanted.versions
                    if version.id not in ids_of(desired)
                ]
                for name, version in fresh:
                    if engines.ready:
                        system = config.tasks[name].system or ""
                        await engines.load(version, f"tasks.{name}.adapter", system=system)
                waiting = differing(supervisor.config, config)
                changed = differing_live(supervisor.config, config)
                tasks_before = set(supervisor.config.tasks)
                supervisor.adopt(config, configured)
            engines.retry_failed()
            return {
                "tasks_added": sorted(set(config.tasks) - tasks_before),
                "tasks_removed": sorted(tasks_before - set(config.tasks)),
                "adapters_loaded": [version.id for _, version in fresh],
                "changed": changed,
                "at_next_start": waiting,
            }

    async def follow(self) -> None:
        """Reload when a file has changed, until cancelled; a refusal is said and the old one goes on."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            # Without an engine nothing has to be loaded: the next that starts does.
            if self._look() != self._stamps or (self._broken_off and not self._engines.ready):
                await self.try_reload()

    async def try_reload(self) -> None:
        """As `reload`, for nobody who waits for an answer."""
        try:
            done = await self.reload()
        except LoraGatewayError as error:
            self._broken_off = not isinstance(error, ConfigError)
            say(f"the changed configuration is refused, the old one goes on: {' '.join(str(error).split())}")
        except Exception:  # nobody awaits it, and what runs must go on
            logger.exception("the configuration could not be reloaded; the old one goes on")
        else:
            waiting = done["at_next_start"]
            rest = (
                f"; at the next start: {', '.join(waiting)}" if isinstance(waiting, list) and waiting else ""
            )
            say(f"configuration reloaded{rest}")

    def _look(self) -> list[tuple[int, int] | None]:
        stamps: list[tuple[int, int] | None] = []
        for file in self._files:
            stamp = None
            with contextlib.suppress(OSError):
                stat = file.stat()
                stamp = (stat.st_mtime_ns, stat.st_ino)  # a file put in its place may bring an older time
            stamps.append(stamp)
        return stamps


def differing_live(old: Config, new: Config) -> list[str]:
    """What a reload puts in force at once, such as `tasks.naming` or `keys.team-a`."""
    before, after = old.model_dump(mode="json", by_alias=True), new.model_dump(mode="json", by_alias=True)
    return [
        f"{section}.{name}"
        for section in LIVE
        for name in {**before[section], **after[section]}
        if before[section].get(name) != after[section].get(name)
    ]


def differing(old: Config, new: Config) -> list[str]:
    """The keys outside the live sections whose values differ, such as `gateway.port`."""
    before, after = old.model_dump(mode="json", by_alias=True), new.model_dump(mode="json", by_alias=True)
    keys: list[str] = []
    for section in before:
        if section in LIVE or before[section] == after[section]:
            continue
        values, others = before[section], after[section]
        if isinstance(values, dict) and isinstance(others, dict):
            keys += [f"{section}.{key}" for key in others if values.get(key) != others[key]]
        else:
            keys.append(section)
    return keys
