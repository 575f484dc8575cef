"""Who is in flight and who waits: one gate for each task, one lane for each of its adapters and each key."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Iterable, Mapping

from gateway.admission.turns.fair_turns import Claimant
from gateway.admission.turns.lora_slots import Slots, takes_slot
from gateway.admission.turns.pace import Pace


class Waiter:
    """A request that waits for its places; of several it takes one in each of its turns."""

    __slots__ = ("admitted", "cost", "let_in", "places", "pushed_out", "taken")

    def __init__(self, places: int, cost: float, let_in: bool) -> None:
        self.places = places
        self.cost = cost
        self.let_in = let_in
        self.pushed_out = False
        """It gave way to another key's request; `admitted` holds its refusal."""
        self.taken = 0
        """Places that it has already, before it may begin."""
        self.admitted: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class Gate:
    """One task's places: how many requests are in flight and waiting, and how many may be."""

    __slots__ = ("in_flight", "lanes", "max_in_flight", "max_waiting", "pace", "task", "waiting")

    def __init__(self, task: str, max_in_flight: int, max_waiting: int) -> None:
        self.task = task
        self.max_in_flight = max_in_flight
        self.max_waiting = max_waiting
        self.in_flight = 0
        self.waiting = 0
        self.pace = Pace()
        self.lanes: dict[str | None, dict[str, AdapterQueue]] = {}
        """By its adapters that requests wait for, and by key."""

    def add(self, adapter_id: str | None, owner: Claimant) -> AdapterQueue:
        """A lane for one of its adapters and a key."""
        lane = AdapterQueue(self, adapter_id, owner)
        self.lanes.setdefault(adapter_id, {})[owner.key] = lane
        return lane

    def drop(self, lane: AdapterQueue) -> None:
        """Nobody waits in that lane any more."""
        lanes = self.lanes[lane.adapter_id]
        del lanes[lane.owner.key]
        if not lanes:
            del self.lanes[lane.adapter_id]


class AdapterQueue:
    """The queue of one key for one adapter of one task."""

    __slots__ = ("adapter_id", "gate", "owner", "queue", "takes_slot")

    def __init__(self, gate: Gate, adapter_id: str | None, owner: Claimant) -> None:
        self.owner = owner
        self.gate = gate
        self.adapter_id = adapter_id
        self.takes_slot = takes_slot(adapter_id)
        self.queue: deque[Waiter] = deque()

    @property
    def has_place(self) -> bool:
        return self.gate.in_flight < self.gate.max_in_flight


def residency_of(
    lanes: Iterable[AdapterQueue], slots: Slots | None, busy: Mapping[str | None, int], now: float
) -> list[dict[str, object]]:
    """The adapters that are believed to be in the engine's slots; all that are busy, without slots."""
    waiting: Counter[str | None] = Counter()
    for lane in lanes:
        waiting[lane.adapter_id] += len(lane.queue)
    shown: list[dict[str, object]] = []
    at_work = [adapter_id for adapter_id, count in busy.items() if count]
    for adapter_id in dict.fromkeys([*(slots.residents if slots else at_work), *waiting]):
        resident = slots.residents.get(adapter_id or "") if slots else None
        entry: dict[str, object] = {
            "adapter": adapter_id,
            "in_flight": busy.get(adapter_id, 0),
            "waiting": waiting[adapter_id],
        }
        if slots is not None:
            entry["resident_s"] = None if resident is None else round(now - resident.since, 3)
        shown.append(entry)
    return shown
