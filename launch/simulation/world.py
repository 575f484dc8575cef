"""Simulated time: engines and whoever sends to them, each event in the order of its time."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from launch.simulation.engine import NEVER, SimulatedEngine
from launch.simulation.policies import Policy
from launch.simulation.request import Request


class Router(Protocol):
    """Sends requests to engines by number, when they come, when others end, or at a time of its own."""

    @property
    def due_s(self) -> float: ...

    def arrives(self, request: Request, now: float) -> Iterator[tuple[int, Request]]: ...

    def ended(self, number: int, request: Request, now: float) -> Iterator[tuple[int, Request]]: ...

    def due(self, now: float) -> Iterator[tuple[int, Request]]: ...

    def abandon(self, request: Request) -> None:
        """Its client leaves, and no engine has it."""


class AtOnce:
    """Every request goes to an engine as soon as it comes."""

    due_s = NEVER

    def __init__(self, policy: Policy) -> None:
        self._policy = policy

    def arrives(self, request: Request, now: float) -> Iterator[tuple[int, Request]]:
        yield self._policy.replica(request), request

    def ended(self, number: int, request: Request, now: float) -> Iterator[tuple[int, Request]]:
        return iter(())

    def due(self, now: float) -> Iterator[tuple[int, Request]]:
        return iter(())

    def abandon(self, request: Request) -> None:
        pass


class World:
    """Goes from event to event; requests are brought by the caller, in order."""

    def __init__(self, engines: Sequence[SimulatedEngine], router: Router, patience_s: float) -> None:
        self._engines = engines
        self._router = router
        self._patience_s = patience_s
        self._unheard: deque[Request] = deque()
        """In order of their coming, which is that of their leaving too."""
        self._due: list[tuple[float, int]] = []
        """Events of engines; one that is not its engine's next any more is passed over."""

    def arrives(self, request: Request) -> None:
        """A request comes now; `until` has brought the time there."""
        self._unheard.append(request)
        self._send(self._router.arrives(request, request.at_s), request.at_s)

    def until(self, end_s: float) -> None:
        """Everything that is due by then."""
        while True:
            while self._unheard and self._unheard[0].first_s >= 0:
                self._unheard.popleft()
            leaves = self._unheard[0].at_s + self._patience_s if self._unheard else NEVER
            at = min(self._due[0][0] if self._due else NEVER, self._router.due_s, leaves)
            if at > end_s or at == NEVER:
                return
            if leaves <= at:
                self._leave(self._unheard.popleft(), at)
                continue
            if self._router.due_s <= at:
                self._send(self._router.due(at), at)
                continue
            _, number = heapq.heappop(self._due)
            engine = self._engines[number]
            if engine.event_at != at:
                continue
            for request in engine.happens(at):
                self._send(self._router.ended(number, request, at), at)
            self._watch(number)

    def _leave(self, request: Request, now: float) -> None:
        if request.engine < 0:
            self._router.abandon(request)
        elif self._engines[request.engine].abandon(request):
            self._send(self._router.ended(request.engine, request, now), now)

    def _send(self, sent: Iterable[tuple[int, Request]], now: float) -> None:
        for number, request in sent:
            request.engine = number
            before = self._engines[number].event_at
            self._engines[number].arrives(request, now)
            # An earlier entry stays in the heap: to take it out would cost a search, to pass it over nothing.
            if self._engines[number].event_at != before:
                self._watch(number)

    def _watch(self, number: int) -> None:
        if self._engines[number].event_at < NEVER:
            heapq.heappush(self._due, (self._engines[number].event_at, number))
