"""Requests that wait for an engine to start: a bounded room, which a waiter leaves without a trace."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Protocol

from gateway.admission.limits import share
from gateway.admission.turns.fair_turns import Whose, whose_of
from gateway.admission.turns.fullness import greediest
from gateway.errors import Unavailable
from gateway.routing.replicas import Replicas

HEARTBEAT_S = 4.0
"""A stream hears from us at least every 5 s."""

LOOK_S = 0.5
"""Without a control plane nothing is announced: whether it is worth waiting for one is asked this often."""

NOTICED_WITHIN_S = 2.0
"""The supervisor looks at its engine ten times a second."""
ONE_OF_SEVERAL_NOTICED_WITHIN_S = 5.0
"""Somebody else's server is looked at every 2 s, and is gone when it has not answered twice."""


class ColdWaiter(Protocol):
    """The request that waits: that it met a cold engine, and the seconds it waited, are written on it."""

    cold: bool
    queue_s: float
    tenant: str
    key: str


class _Place:
    """One request's."""

    __slots__ = ("refusal", "wait", "whose")

    def __init__(self, whose: Whose) -> None:
        self.whose = whose
        self.wait: asyncio.Timeout | None = None
        self.refusal: Unavailable | None = None
        """It gave way to another key's request."""


class WaitingRoom:
    """The load goes on whoever leaves: it is the control plane's."""

    def __init__(self, replicas: Replicas, worker: int = 0, *, heartbeat_s: float = HEARTBEAT_S) -> None:
        bounds = replicas.config.gateway
        self._replicas = replicas
        self._most = share(bounds.max_cold_waiting, worker, bounds.workers)
        self._timeout_s = bounds.cold_timeout_s
        self._heartbeat_s = heartbeat_s
        self._places: list[_Place] = []
        """Of requests, the newest last; who waits for a batch's sake has none."""
        self.waiting = 0
        self.wanted = asyncio.Event()
        """Somebody waits; whoever can ask for an engine looks at it."""

    async def wait(self, waiter: ColdWaiter, name: str, beat: Callable[[], Awaitable[None]] | None) -> None:
        """Until the model can be answered, or is no more; `beat` is called every few seconds.

        Raises Unavailable (503) where it never will be, the room is full, or the time is over.
        """
        replicas = self._replicas
        if replicas.servable(name):
            return
        if not replicas.may_come(name):
            raise replicas.unavailable(replicas.table.get(name))
        place = _Place(whose_of(waiter.tenant, waiter.key))
        if self.waiting >= self._most:
            self._make_room(place.whose)
        began = time.perf_counter()
        waiter.cold = True
        self.waiting += 1
        self._places.append(place)
        self.wanted.set()
        try:
            await self._until_servable(name, beat, began, place)
        finally:
            if place.refusal is None:
                self._leave(place)
            waiter.queue_s += time.perf_counter() - began

    async def may_come_back(self, name: str) -> bool:
        """Whether the control plane notices too that the model's engine is gone; it takes a moment."""
        replicas = self._replicas
        try:
            within_s = ONE_OF_SEVERAL_NOTICED_WITHIN_S if replicas.are_several else NOTICED_WITHIN_S
            async with asyncio.timeout(within_s):
                while replicas.servable(name):
                    await replicas.news.wait()
        except TimeoutError:
            return False
        return replicas.may_come(name)

    def _leave(self, place: _Place) -> None:
        self._places.remove(place)
        self.waiting -= 1

    def _make_room(self, whose: Whose) -> None:
        """Have the newest of the key that has most waiting give way, as `Admission` does; else refuse."""
        full = Unavailable(
            f"{self.waiting} requests wait for the engine to start, the most that may.",
            retry_after_s=self._replicas.availability.rest_s(),
        )
        found = greediest(Counter(one.whose for one in self._places), whose)
        if found is None:
            raise full
        place = next(one for one in reversed(self._places) if one.whose == found)
        self._leave(place)
        place.refusal = full
        # It is made to look now; one that does not wait at the moment looks by itself.
        if place.wait is not None and not place.wait.expired():
            place.wait.reschedule(asyncio.get_running_loop().time())

    async def _until_servable(
        self, name: str, beat: Callable[[], Awaitable[None]] | None, began: float, place: _Place
    ) -> None:
        replicas = self._replicas
        next_beat = began + self._heartbeat_s
        while not replicas.servable(name) and replicas.table.get(name) is not None:
            if place.refusal is not None:
                raise place.refusal
            now = time.perf_counter()
            rest_s = began + self._timeout_s - now
            if rest_s <= 0 or not replicas.may_come(name):
                raise replicas.unavailable(replicas.table.get(name))
            if beat is not None and now >= next_beat:
                await beat()
                next_beat = time.perf_counter() + self._heartbeat_s
                continue
            if beat is not None:
                rest_s = min(rest_s, next_beat - now)
            if not replicas.control_alive:
                rest_s = min(rest_s, LOOK_S)
            try:
                # Another event after each change; since the look above nothing was awaited, so none is lost.
                async with asyncio.timeout(rest_s) as place.wait:
                    await replicas.news.wait()
            except TimeoutError:
                continue
            finally:
                place.wait = None
