"""What a soak loads: a gateway, before a fake engine one that is taken away now and then."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.faults.processes import configured, fault_engine, program


class FakeEngine:
    """Killed when it is told to, and back on the same port a moment later."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._context = fault_engine(folder)
        self.url = self._context.__enter__().url

    async def away(self) -> None:
        """Kill it, and start it again."""
        self.close()
        self._context = fault_engine(self._folder, int(self.url.rpartition(":")[2]))
        await asyncio.to_thread(self._context.__enter__)

    def close(self) -> None:
        """Kill it."""
        self._context.__exit__(None, None, None)


@dataclass
class Subject:
    """A gateway's port and process, where its state is, and where it writes how many tasks it has."""

    port: int
    pid: int
    state: Path
    tasks: Path | None
    engine: FakeEngine | None = None


@contextmanager
def fake_gateway(folder: Path, keys: Mapping[str, object]) -> Iterator[Subject]:
    """The gateway of the tests' configuration, with these keys."""
    engine = FakeEngine(folder)
    try:
        bounds = {"first_byte_timeout_s": 10.0, "idle_timeout_s": 10.0}
        config = configured(folder, engine.url, keys=keys, **bounds)
        tasks = folder / "tasks"
        options = ["--config", str(folder / "config.yaml"), "--port", "0"]
        with program(["tests.soak.watched_gateway", str(tasks), *options], folder / "gateway.log") as made:
            yield Subject(int(made.url.rpartition(":")[2]), made.pid, config.state_dir, tasks, engine)
    finally:
        engine.close()
