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
        self._asked: set[Replica] = set()
        """Those that have not answered yet; each is followed by itself."""
        self._unseen: dict[Replica, tuple[int, int]] = {}
        """How many requests had their answers and were too late since each engine was asked last."""

    async def run(self) -> None:
        """Look until it is cancelled: more often while requests wait, and not while few are in flight."""
        self._asked.clear()  # it may be begun again
        async with asyncio.TaskGroup() as asking:
            while True:
                await self._sleep(CLOSELY_S if self._admission.waiting else EVERY_S)
                if self._admission.waiting or self._admission.in_flight >= FEW:
                    self.look(asking)

    def look(self, asking: asyncio.TaskGroup) -> None:
        """Ask each engine that takes requests, but those that have not answered yet."""
        answered, late = self._admission.take_ended()
        before = self._unseen
        self._unseen = {one: _more(before.get(one, (0, 0)), answered, late) for one in self._replicas.ready}
        for one in self._unseen.keys() - self._asked:
            self._asked.add(one)
            # Before it is asked: what ends meanwhile is its next look's.
            asking.create_task(self._follow(one, *self._unseen.pop(one)))

    async def _follow(self, replica: Replica, answered: int, late: int) -> None:
        """What it tells is in its bound then, with what ended at all engines since it was asked last."""
        try:
            replica.load_known = await _asked(replica, answered, late)
        finally:
            self._asked.discard(replica)
        ready = self._replicas.ready
        if any(one.load_known is None for one in ready):
            return  # a new one is about to tell
        # One that does not tell its load could take any number.
        bounded = bool(ready) and all(one.load_known for one in ready)
        self._admission.follow(sum(one.bound.limit for one in ready) if bounded else None)


def _more(ended: tuple[int, int], answered: int, late: int) -> tuple[int, int]:
    return ended[0] + answered, ended[1] + late


async def _asked(replica: Replica, answered: int, late: int) -> bool:
    """Whether it tells its load."""
    try:
        async with asyncio.timeout(ASK_TIMEOUT_S):
            status, text = await fetch(replica.upstream, METRICS)
    except (RequestError, TimeoutError):
        return bool(replica.load_known)  # it may be too busy to answer, and is no less full for that
    load = read_load(text) if status == 200 else None
    if load is not None:
        replica.bound.saw(load, answered, late)
        replica.speed.saw(load, replica.upstream.open_connections, time.monotonic())
    return load is not None
