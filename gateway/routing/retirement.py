"""Adapters that are gone leave the metrics after a while; what they counted stays with their tasks.

An id names one content, so each version of a task makes series of its own, and none is ever counted again
once it is gone for good. Left alone, a scrape grows with every version that there ever was.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from gateway.config.snapshot import Snapshot
from gateway.metrics.counters import Metrics
from gateway.routing.replicas import Replicas

AFTER_S = 3600.0
"""Long enough for every scraper to have seen a version's last count."""
LOOK_EVERY_S = 20.0
MOST_AT_ONCE = 50
"""So many hold the event loop up for about 6 ms."""


class Retirement:
    """One worker's own counters; use it in its event loop."""

    def __init__(
        self, metrics: Metrics, replicas: Replicas, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._metrics = metrics
        self._replicas = replicas
        self._clock = clock
        self._gone_since: dict[str, float] = {}

    async def run(self) -> None:
        """Look every `LOOK_EVERY_S` seconds, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            self.look()

    def look(self) -> None:
        """Retire what has been gone for long enough; what came back has its time anew."""
        now, present = self._clock(), present_in(self._replicas.snapshot)
        gone = [adapter for adapter in self._metrics.adapters if adapter not in present]
        self._gone_since = {adapter: self._gone_since.get(adapter, now) for adapter in gone}
        due = [adapter for adapter, since in self._gone_since.items() if now - since >= AFTER_S]
        for adapter in due[:MOST_AT_ONCE]:
            if self._metrics.retire(adapter):
                del self._gone_since[adapter]


def present_in(snapshot: Snapshot) -> set[str]:
    """Every adapter that requests may still be on, or come to."""
    present = set(snapshot.retiring)
    for task in snapshot.tasks.values():
        present.update(version.id for version in task.versions)
        if task.shadow is not None:
            present.add(task.shadow.id)
        if task.previous is not None:
            present.add(task.previous)
    return present
