"""What a gateway's process holds, sampled from outside while it is loaded."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
from collections import Counter
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.soak.http_client import BrokenOff, Connections


@dataclass(frozen=True)
class Sample:
    """At one moment; rates and times are those since the last."""

    at_s: float
    resident_mib: float
    descriptors: int
    tasks: int
    threads: int
    in_flight: int
    waiting: int
    open_connections: int
    per_s: float
    p50_ms: float
    p99_ms: float
    verdicts: dict[str, int]

    def row(self) -> dict[str, object]:
        return asdict(self)


@dataclass(frozen=True)
class Held:
    """What is there while nobody asks."""

    descriptors: int
    tasks: int
    threads: int
    in_flight: int
    waiting: int
    open_connections: int
    open: dict[str, int]
    """What the descriptors are of."""


def named(pid: int) -> dict[str, int]:
    """What a process has open, sockets and the like without their numbers."""
    found: Counter[str] = Counter()
    for one in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            found[os.readlink(one).partition(":")[0].rpartition("/")[2]] += 1
    return dict(found)


class Watched:
    """One gateway: its process, and where it says how many tasks it has."""

    def __init__(self, pid: int, port: int, tasks: Path | None, key: str) -> None:
        self._pid = pid
        self._connections = Connections("127.0.0.1", port)
        self._tasks = tasks
        self._key = key

    def resident_mib(self) -> float:
        return self._status("VmRSS") / 1024

    async def held(self) -> Held:
        """By the process and by its own word; the connection that asks is none of it. Raises BrokenOff."""
        answer = await self._connections.ask("/health", b"", self._key)
        assert answer is not None
        health = json.loads(answer.body)
        asking = 1
        return Held(
            len(os.listdir(f"/proc/{self._pid}/fd")) - asking,
            await self._count_tasks(),
            self._status("Threads"),
            health["in_flight"],
            health["waiting"],
            health["open_connections"],
            named(self._pid),
        )

    async def sample(
        self, at_s: float, times_s: list[float], since_s: float, verdicts: Counter[str]
    ) -> Sample:
        try:
            held = await self.held()
        except BrokenOff:
            held = Held(0, 0, 0, 0, 0, 0, {})
        ordered = sorted(times_s) or [0.0]
        return Sample(
            round(at_s, 1),
            round(self.resident_mib(), 2),
            held.descriptors,
            held.tasks,
            held.threads,
            held.in_flight,
            held.waiting,
            held.open_connections,
            round(len(times_s) / since_s, 1),
            round(1000 * ordered[len(ordered) // 2], 2),
            round(1000 * ordered[int(len(ordered) * 0.99)], 2),
            dict(verdicts),
        )

    async def _count_tasks(self) -> int:
        if self._tasks is None:
            return 0
        self._tasks.unlink(missing_ok=True)
        os.kill(self._pid, signal.SIGUSR1)
        for _ in range(500):
            if self._tasks.exists():
                return int(self._tasks.read_text())
            await asyncio.sleep(0.01)
        return 0

    def _status(self, name: str) -> int:
        found = re.search(rf"{name}:\s+(\d+)", Path(f"/proc/{self._pid}/status").read_text())
        return int(found[1]) if found else 0

    def close(self) -> None:
        self._connections.close()
