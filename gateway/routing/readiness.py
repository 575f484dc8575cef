"""Whether an engine completes a request now, as `/ready` asks it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from gateway.routing.replica import PROBE_S, Replica
from gateway.routing.replicas import Replicas
from gateway.upkeep import end_tasks

READY_FOR_S = 2.0
"""A completion that worked answers `/ready` for this long."""


class Readiness:
    """One probe at a time, whose good outcome holds as long as the engines stay the same."""

    def __init__(self, replicas: Replicas) -> None:
        self._replicas = replicas
        self._probe: asyncio.Task[bool] | None = None
        self._proven: Sequence[Replica] = ()
        self._proven_until = 0.0

    async def proven(self) -> bool:
        """Whether a real completion on the base has worked within the last two seconds, or works now."""
        ready = self._replicas.ready
        if not ready:
            return False
        if ready == self._proven and time.monotonic() < self._proven_until:
            return True
        if self._probe is None or self._probe.done():
            self._probe = asyncio.create_task(self._prove(ready))
        # Shared by all who ask: one that leaves must not end it for the others.
        return await asyncio.shield(self._probe)

    async def stop(self) -> None:
        """Cancel a probe under way."""
        await end_tasks([self._probe])

    async def _prove(self, replicas: Sequence[Replica]) -> bool:
        """All are asked together: one that hangs must not hide that another is well."""
        base = self._replicas.config.base.name
        asked = [asyncio.create_task(replica.completes(base)) for replica in replicas]
        try:
            async with asyncio.timeout(PROBE_S):
                for answer in asyncio.as_completed(asked):
                    if await answer:
                        self._proven, self._proven_until = replicas, time.monotonic() + READY_FOR_S
                        return True
        except TimeoutError:
            pass
        finally:
            await end_tasks(asked)
        return False
