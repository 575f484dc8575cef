"""The gateway in simulated time: homes by plan, a slot in turn, a replica by residency and wait."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from gateway.admission.turns.engine_slots import Able, EngineRoom, EngineSlots
from gateway.admission.turns.lora_slots import QUANTUM
from gateway.placement.choice import Candidate, choose
from launch.simulation.engine import NEVER, SimulatedEngine
from launch.simulation.placer import Placer
from launch.simulation.request import Request

Sent = Iterator[tuple[int, Request]]
"""The number of an engine, and what goes there now."""


class Waits(NamedTuple):
    """An adapter that is waited for; a slot is all that it lacks."""

    adapter_id: str
    has_place: bool = True


class GatewayTurns:
    """Requests wait here, not at an engine, until `EngineSlots` lets one in; then `choose` has said where."""

    def __init__(
        self,
        engines: Sequence[SimulatedEngine],
        placer: Placer,
        least_residency_s: float,
        chance: random.Random,
        quantum: int = QUANTUM,
    ) -> None:
        self._engines = engines
        self._numbers = {one.name: number for number, one in enumerate(engines)}
        self._placer = placer
        self._chance = chance
        self._least_residency_s = least_residency_s
        # With one engine the gateway's turns are of requests, and no engine counts as full (design 111).
        self._slots = EngineSlots(
            least_residency_s, _unobserved, self._choose, self._seats if len(engines) > 1 else None, quantum
        )
        self._lanes: dict[str, deque[Request]] = {}
        self._at: dict[str, dict[str, None]] = {one.name: {} for one in engines}
        """By engine the adapters that are waited for and at home there, in turn."""
        self._again: dict[str, float] = {}
        """By engine when to look again, though nothing has ended: an idle adapter may be evicted then."""
        self.due_s = min(placer.due_s, NEVER)
        self._follow()

    def arrives(self, request: Request, now: float) -> Sent:
        """A request comes; it goes on, or waits for a slot."""
        self._placer.asked(request)
        adapter = request.adapter
        # Nobody passes those that wait for the same adapter.
        if adapter not in self._lanes and self._admits(adapter, now, new=True):
            yield self._seat(adapter), request
            return
        self._lanes.setdefault(adapter, deque()).append(request)
        for home in self._placer.homes[adapter]:
            self._at[home].setdefault(adapter)
            self._look_again(home, now)

    def abandon(self, request: Request) -> None:
        """Its client leaves, before it went to an engine."""
        lane = self._lanes[request.adapter]
        lane.remove(request)
        if not lane:
            del self._lanes[request.adapter]
            for home in self._placer.homes[request.adapter]:
                self._at[home].pop(request.adapter, None)

    def ended(self, number: int, request: Request, now: float) -> Sent:
        """An engine has answered a request: its slot is free, and what waited there is sent."""
        name = self._engines[number].name
        self._slots.leave(request.adapter, name)
        yield from self._go_on(name, now)

    def due(self, now: float) -> Sent:
        """What was to be done at `due_s`."""
        if self._placer.due_s <= now:
            self._placer.replan(now)
            self._follow()
            # One that waits may have a home now where nothing is in flight: no end would have it looked at.
            self._again |= {name: now for name, waiting in self._at.items() if waiting}
        for name in [each for each, at_s in self._again.items() if at_s <= now]:
            del self._again[name]
            yield from self._go_on(name, now)
            if self._at[name]:
                self._look_again(name, now)
        self._next_due()

    def _go_on(self, name: str, now: float) -> Sent:
        """Those that wait for a slot there, in turn one of each adapter, as long as one may go on."""
        admitted = bool(self._at[name])
        while admitted:
            admitted = full = False
            for adapter in list(self._at[name]):
                if self._slots.is_full(name):
                    return  # it has no seat for anybody, and nothing has changed elsewhere
                resident = name in self._slots.where(adapter)
                if full and not resident:
                    continue  # it finds no slot here either, and nothing has changed elsewhere
                if self._admits(adapter, now, new=False):
                    admitted = True
                    # Sent before the next one is judged, which so finds this one at its engine.
                    yield self._seat(adapter), self._next_of(adapter)
                elif not resident:
                    full = True

    def _next_of(self, adapter: str) -> Request:
        """The first that waits; the others go to the end of the turn."""
        lane = self._lanes[adapter]
        request = lane.popleft()
        for home in self._placer.homes[adapter]:
            self._at[home].pop(adapter, None)
            if lane:
                self._at[home][adapter] = None
        if not lane:
            del self._lanes[adapter]
        return request

    def _admits(self, adapter: str, now: float, *, new: bool) -> bool:
        # Only who waits at one of its homes can want a slot that it could take.
        waiting = {other for home in self._placer.homes[adapter] for other in self._at[home]}
        return self._slots.admit(adapter, [Waits(other) for other in waiting], now, new=new)

    def _seat(self, adapter: str) -> int:
        name = self._slots.take(adapter)
        assert name is not None, "it was admitted"
        return self._numbers[name]

    def _choose(self, able: Sequence[Able]) -> str:
        engines = [self._engines[self._numbers[at.name]] for at in able]
        candidates = [candidate_of(one, at, one.speed.seats) for one, at in zip(engines, able, strict=True)]
        return choose(candidates, self._chance).name

    def _seats(self, name: str) -> int:
        return self._engines[self._numbers[name]].speed.seats

    def _follow(self) -> None:
        """The homes of now; who waits is heard at those."""
        rooms = {
            name: EngineRoom(self._engines[self._numbers[name]].speed.slots, frozenset(held))
            for name, held in self._placer.holds.items()
        }
        self._slots.follow(rooms)
        self._at = {name: {} for name in rooms}
        for adapter in self._lanes:
            for home in self._placer.homes[adapter]:
                self._at[home][adapter] = None
        self._next_due()

    def _look_again(self, name: str, now: float) -> None:
        if name not in self._again:
            self._again[name] = now + self._least_residency_s
            self.due_s = min(self.due_s, self._again[name])

    def _next_due(self) -> None:
        self.due_s = min(self._placer.due_s, min(self._again.values(), default=NEVER))


def candidate_of(engine: SimulatedEngine, at: Able, limit: int) -> Candidate:
    """The engine as the gateway's own choice sees it, made as `gateway.routing.selection.candidates` does."""
    in_flight, per_s = max(engine.in_flight, at.in_flight), engine.speed.tokens_per_s
    return Candidate(at.name, at.resident, in_flight, engine.queued_work, per_s, limit)


def _unobserved(engine: str, adapter: str, change: int, why: str) -> None:
    pass
