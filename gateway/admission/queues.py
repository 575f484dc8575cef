"""Who is in flight and who waits: one gate for each task, one lane for each of its adapters."""

from __future__ import annotations

import asyncio
from collections import deque

from gateway.admission.lora_slots import takes_slot


class Waiter:
    """A request that waits for its places; of several it takes one in each of its turns."""

    __slots__ = ("admitted", "places", "taken")

    def __init__(self, places: int) -> None:
        self.places = places
        self.taken = 0
        """Places that it has already, before it may begin."""
        self.admitted: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class Gate:
    """One task's places: how many requests are in flight and waiting, and how many may be."""

    __slots__ = ("in_flight", "lanes", "max_in_flight", "max_waiting", "task", "waiting")

    def __init__(self, task: str, max_in_flight: int, max_waiting: int) -> None:
        self.task = task
        self.max_in_flight = max_in_flight
        self.max_waiting = max_waiting
        self.in_flight = 0
        self.waiting = 0
        self.lanes: dict[str | None, AdapterQueue] = {}
        """One for each of its adapters that requests wait for."""


class AdapterQueue:
    """The queue of one adapter of one task."""

    __slots__ = ("adapter_id", "gate", "queue", "takes_slot")

    def __init__(self, gate: Gate, adapter_id: str | None) -> None:
        self.gate = gate
        self.adapter_id = adapter_id
        self.takes_slot = takes_slot(adapter_id)
        self.queue: deque[Waiter] = deque()

    @property
    def has_place(self) -> bool:
        return self.gate.in_flight < self.gate.max_in_flight
