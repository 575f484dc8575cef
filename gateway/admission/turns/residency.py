"""What is at the engine, by its models, and what may go there where adapters are more than its LoRA slots."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

from gateway.admission.turns.lora_slots import (
    ALL_FIT,
    FIRST_USE,
    MOST_REMEMBERED,
    OnResident,
    Slots,
    takes_slot,
)
from gateway.admission.turns.queues import AdapterQueue


class Residency:
    """Clockless; the queues in which others wait (`lanes`) come with each question."""

    def __init__(self, least_residency_s: float, on_resident: OnResident | None = None) -> None:
        self._least_residency_s = least_residency_s
        self._on_resident = on_resident
        self.busy: defaultdict[str | None, int] = defaultdict(int)
        """Requests in flight by the engine's model; those at 0 are dropped with the next snapshot."""
        self.slots: Slots | None = None
        """None where every adapter has a slot."""
        self._left: dict[str, str] = {}
        """By adapter why it lost its slot; slots come and go with engines."""

    def resize(self, slots: int | None, now: float, why: str = ALL_FIT) -> None:
        """So many slots from now on, or one for every adapter; then `why` they hold none any more."""
        for adapter_id in [each for each, count in self.busy.items() if not count]:
            del self.busy[adapter_id]
        if slots is None:
            if self.slots is not None:
                self.slots.clear(why)
                self.slots = None
            return
        if self.slots is None:
            self.slots = Slots(slots, self._least_residency_s, on_resident=self._moved)
            self.slots.adopt(self.busy, now)
        self.slots.resize(slots)

    def lacks_slot(self, adapter_id: str | None) -> bool:
        """Whether the adapter needs a slot and has none."""
        slots = self.slots
        return slots is not None and takes_slot(adapter_id) and adapter_id not in slots.residents

    def _moved(self, adapter_id: str, change: int, why: str) -> None:
        if change > 0:
            why = self._left.pop(adapter_id, FIRST_USE)
        else:
            self._left[adapter_id] = why
            if len(self._left) > MOST_REMEMBERED:
                del self._left[next(iter(self._left))]
        if self._on_resident is not None:
            self._on_resident(adapter_id, change, why)

    def admits(
        self, adapter_id: str | None, lanes: Iterable[AdapterQueue], now: float, *, new: bool = False
    ) -> bool:
        """Whether the adapter may go to the engine now, and then it has a slot.

        A new request takes no free slot before those who wait for one.
        """
        slots = self.slots
        if slots is None or adapter_id is None or not takes_slot(adapter_id):
            return True
        waited_for, contended = _rivals(slots, lanes, adapter_id)
        if new and contended and adapter_id not in slots.residents:
            return False
        return slots.admit(adapter_id, now, waited_for=waited_for, contended=contended)

    def due_in(self, lanes: Iterable[AdapterQueue], now: float) -> float | None:
        """Seconds until an idle adapter gives its slot to one that lacks only that; None where none does."""
        slots = self.slots
        return slots.due_in(now) if slots is not None and _rivals(slots, lanes)[1] else None

    def shown(self, lanes: Iterable[AdapterQueue], now: float) -> list[dict[str, object]]:
        """The adapters that are believed to be in the engine's slots; all that are busy, without slots."""
        waiting: Counter[str | None] = Counter()
        for lane in lanes:
            waiting[lane.adapter_id] += len(lane.queue)
        shown: list[dict[str, object]] = []
        slots, at_work = self.slots, [adapter_id for adapter_id, count in self.busy.items() if count]
        for adapter_id in dict.fromkeys([*(slots.residents if slots else at_work), *waiting]):
            resident = slots.residents.get(adapter_id or "") if slots else None
            entry: dict[str, object] = {
                "adapter": adapter_id,
                "in_flight": self.busy.get(adapter_id, 0),
                "waiting": waiting[adapter_id],
            }
            if slots is not None:
                entry["resident_s"] = None if resident is None else round(now - resident.since, 3)
            shown.append(entry)
        return shown


def _rivals(slots: Slots, lanes: Iterable[AdapterQueue], adapter_id: str | None = None) -> tuple[bool, bool]:
    """Whether other adapters are waited for that have no slot, and whether one lacks only that."""
    waited_for = False
    for lane in lanes:
        if lane.takes_slot and lane.adapter_id != adapter_id and lane.adapter_id not in slots.residents:
            if lane.gate.has_place:
                return True, True
            waited_for = True
    return waited_for, False
