"""Who is in flight and who waits: one gate for each task, one lane for each of its adapters and each key."""

from __future__ import annotations

import asyncio
from collections import deque

from gateway.admission.turns.fair_turns import Claimant, Whose, whose_is
from gateway.admission.turns.lora_slots import takes_slot
from gateway.admission.turns.pace import Pace
from gateway.admission.turns.service_times import ServiceTimes


class Waiter:
    """A request that waits for its places; of several it takes one in each of its turns."""

    __slots__ = ("admitted", "cost", "let_in", "missing", "places", "pushed_out", "taken")

    def __init__(self, places: int, cost: float, let_in: bool) -> None:
        self.places = places
        self.cost = cost
        self.let_in = let_in
        self.pushed_out = False
        """It gave way to another key's request; `admitted` holds its refusal."""
        self.taken = 0
        """Places that it has already, before it may begin."""
        self.missing = places
        """Those that it lacked when it was looked at last."""
        self.admitted: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class Bound:
    """How many requests are in flight and waiting, and how many may be: in the gateway, or of one task."""

    __slots__ = ("in_flight", "max_in_flight", "max_waiting", "pace", "waiting")

    def __init__(self, max_in_flight: int, max_waiting: int) -> None:
        self.max_in_flight = max_in_flight
        self.max_waiting = max_waiting
        self.in_flight = 0
        self.waiting = 0
        self.pace = Pace()

    @property
    def has_place(self) -> bool:
        return self.in_flight < self.max_in_flight


class Gate(Bound):
    """One task's bound, and the queues of those who wait for a place of it."""

    __slots__ = ("lanes", "service", "task")

    def __init__(self, task: str, max_in_flight: int, max_waiting: int) -> None:
        super().__init__(max_in_flight, max_waiting)
        self.task = task
        self.service = ServiceTimes()
        self.lanes: dict[str | None, dict[Claimant, AdapterQueue]] = {}
        """By its adapters that requests wait for, and by whose they are."""

    @property
    def every_lane(self) -> list[AdapterQueue]:
        """All in which somebody waits."""
        return [lane for of_keys in self.lanes.values() for lane in of_keys.values()]

    def add(self, adapter_id: str | None, owner: Claimant) -> AdapterQueue:
        """A lane for one of its adapters and a key."""
        lane = AdapterQueue(self, adapter_id, owner)
        self.lanes.setdefault(adapter_id, {})[owner] = lane
        return lane

    def drop(self, lane: AdapterQueue) -> None:
        """Nobody waits in that lane any more."""
        lanes = self.lanes[lane.adapter_id]
        del lanes[lane.owner]
        if not lanes:
            del self.lanes[lane.adapter_id]


class AdapterQueue:
    """The queue of one key for one adapter of one task; its pipelines' calls have one of their own."""

    __slots__ = ("adapter_id", "gate", "owner", "queue", "takes_slot", "whose")

    def __init__(self, gate: Gate, adapter_id: str | None, owner: Claimant) -> None:
        self.owner = owner
        self.whose: Whose = whose_is(owner)
        self.gate = gate
        self.adapter_id = adapter_id
        self.takes_slot = takes_slot(adapter_id)
        self.queue: deque[Waiter] = deque()

    @property
    def has_place(self) -> bool:
        """Of the task's, for its first, where that lacks one at the most; who gathers more lacks no slot."""
        return self.gate.has_place and not (self.queue and self.queue[0].missing > 1)
