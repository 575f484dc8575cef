"""Asks engines what they run and what they queue, and bounds what they are given by it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from gateway.admission.engine_bound import CLOSELY_S, EVERY_S, FEW
from gateway.admission.limits import Admission
from gateway.errors import RequestError
from gateway.routing.engine_load import read_load
from gateway.routing.replica import Replica, fetch
from gateway.routing.replicas import Replicas

ASK_TIMEOUT_S = 5.0
METRICS = b"/metrics"


class LoadFollower:
    """Each worker looks for itself; the engine's bound is shared out like every other."""

    def __init__(
        self,
        replicas: Replicas,
        admission: Admission,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._replicas = replicas
        self._admission = admission
        self._sleep = sleep

    async def run(self) -> None:
        """Look until it is cancelled: more often while requests wait, and not while few are in flight."""
        while True:
            await self._sleep(CLOSELY_S if self._admission.waiting else EVERY_S)
            if self._admission.waiting or self._admission.in_flight >= FEW:
                await self.look()

    async def look(self) -> None:
        """Ask each engine that takes requests, and bound what they have together."""
        ready = self._replicas.ready
        # Before the engines are asked: what ends meanwhile is the next look's.
        answered, late = self._admission.take_ended()
        known = await asyncio.gather(*(_asked(one, answered, late) for one in ready))
        # One that does not tell its load could take any number.
        bounded = bool(ready) and all(known)
        self._admission.follow(sum(one.bound.limit for one in ready) if bounded else None)


async def _asked(replica: Replica, answered: int, late: int) -> bool:
    """Whether it has told; what it told is in its bound then, with what ended at all engines meanwhile."""
    try:
        async with asyncio.timeout(ASK_TIMEOUT_S):
            status, text = await fetch(replica.upstream, METRICS)
    except (RequestError, TimeoutError):
        return replica.load_known  # it may be too busy to answer, and is no less full for that
    load = read_load(text) if status == 200 else None
    replica.load_known = load is not None
    if load is not None:
        replica.bound.saw(load, answered, late)
        replica.speed.saw(load, replica.upstream.open_connections, time.monotonic())
    return load is not None
