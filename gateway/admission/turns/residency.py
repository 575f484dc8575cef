"""What is at the engine, by its models, and what may go there where adapters are more than its LoRA slots."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from functools import partial

from gateway.admission.turns.engine_slots import Choose, EngineRoom, EngineSlots, Seats, first_of
from gateway.admission.turns.lora_slots import (
    ALL_FIT,
    FIRST_USE,
    MOST_REMEMBERED,
    RESTART,
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
        """Requests in flight by the engine's model, as whoever lets them in counts them; those at 0 are
        dropped with the next snapshot."""
        self.choose: Choose = first_of
        """Which of several engines, where adapters are more than their slots."""
        self.seats: Seats | None = None
        """Requests that each of several engines runs at once."""
        self.slots: Slots | None = None
        """Of the only engine; None where every adapter has a slot."""
        self._engines: EngineSlots | None = None
        """Of several, where they are too few on one."""
        self.bounded = False
        """Whether some adapters have no slot."""
        self._left: dict[tuple[str, str], str] = {}
        """By engine and adapter why it lost its slot; slots come and go with engines."""

    def resize(self, slots: int | None, now: float, why: str = ALL_FIT) -> None:
        """So many slots from now on, or one for every adapter; then `why` they hold none any more."""
        self._forget_idle()
        if self._engines is not None:
            self._engines.clear(why)
            self._engines = None
        self.bounded = slots is not None
        if slots is None:
            if self.slots is not None:
                self.slots.clear(why)
                self.slots = None
            return
        if self.slots is None:
            self.slots = Slots(slots, self._least_residency_s, on_resident=partial(self._moved, ""))
            self.slots.adopt(self.busy, now)
        self.slots.resize(slots)

    def follow(self, rooms: Mapping[str, EngineRoom]) -> None:
        """Several engines, by name, of which one has fewer slots than adapters.

        What came before does not say at which engine it is, and is not counted there.
        """
        self._forget_idle()
        if self.slots is not None:
            self.slots.clear(RESTART)
            self.slots = None
        if self._engines is None:
            self._engines = EngineSlots(
                self._least_residency_s,
                self._moved,
                lambda able: self.choose(able),
                self.seats,
            )
        self._engines.follow(rooms)
        self.bounded = True

    def _forget_idle(self) -> None:
        for adapter_id in [each for each, count in self.busy.items() if not count]:
            del self.busy[adapter_id]

    def lacks_slot(self, adapter_id: str | None) -> bool:
        """Whether the adapter needs a slot and has none."""
        if adapter_id is None or not takes_slot(adapter_id):
            return False
        if self._engines is not None:
            return not self._engines.where(adapter_id)
        return self.slots is not None and adapter_id not in self.slots.residents

    def _moved(self, engine: str, adapter_id: str, change: int, why: str) -> None:
        if change > 0:
            why = self._left.pop((engine, adapter_id), FIRST_USE)
        else:
            self._left[engine, adapter_id] = why
            if len(self._left) > MOST_REMEMBERED:
                del self._left[next(iter(self._left))]
        if self._on_resident is not None:
            self._on_resident(adapter_id, change, why)

    def admits(
        self, adapter_id: str | None, lanes: Collection[AdapterQueue], now: float, *, new: bool = False
    ) -> bool:
        """Whether the adapter may go to the engine now, and then it has a slot.

        A new request takes no free slot before those who wait for one.
        """
        if adapter_id is None or not takes_slot(adapter_id):
            return True
        if self._engines is not None:
            return self._engines.admit(adapter_id, lanes, now, new=new)
        slots = self.slots
        if slots is None:
            return True
        waited_for, contended = _rivals(slots, lanes, adapter_id)
        if new and contended and adapter_id not in slots.residents:
            return False
        return slots.admit(adapter_id, now, waited_for=waited_for, contended=contended)

    def seat(self, adapter_id: str | None) -> str | None:
        """Where one that was admitted goes, to be asked once for each; None: to any that has it."""
        if self._engines is None or adapter_id is None:
            return None
        return self._engines.take(adapter_id)

    def leave(self, adapter_id: str | None, engine: str | None = None) -> None:
        """A request has ended that had this `seat`, and is `busy` no more; only where this is `bounded`."""
        if adapter_id is None:
            return
        if self.slots is not None:
            self.slots.leave(adapter_id)
        elif self._engines is not None and engine is not None:
            self._engines.leave(adapter_id, engine)

    def vacate(self, adapter_id: str | None, engine: str | None = None) -> None:
        """Its slot is free again right away, where nothing is in flight."""
        if adapter_id is None:
            return
        if self.slots is not None:
            self.slots.vacate(adapter_id)
        elif self._engines is not None and engine is not None:
            self._engines.vacate(adapter_id, engine)

    def due_in(self, lanes: Collection[AdapterQueue], now: float) -> float | None:
        """Seconds until an idle adapter gives its slot to one that lacks only that; None where none does."""
        if self._engines is not None:
            return self._engines.due_in(lanes, now)
        slots = self.slots
        return slots.due_in(now) if slots is not None and _rivals(slots, lanes)[1] else None

    def shown(self, lanes: Iterable[AdapterQueue], now: float) -> list[dict[str, object]]:
        """The adapters that are believed to be in the engine's slots; all that are busy, without slots."""
        waiting: Counter[str | None] = Counter()
        for lane in lanes:
            waiting[lane.adapter_id] += len(lane.queue)
        shown: list[dict[str, object]] = []
        at_work: Iterable[str | None] = [adapter_id for adapter_id, count in self.busy.items() if count]
        held = self._engines or self.slots
        for adapter_id in dict.fromkeys([*(held.residents if held else at_work), *waiting]):
            entry: dict[str, object] = {
                "adapter": adapter_id,
                "in_flight": self.busy.get(adapter_id, 0),
                "waiting": waiting[adapter_id],
            }
            if held is not None:
                since = held.since(adapter_id or "")
                entry["resident_s"] = None if since is None else round(now - since, 3)
            if self._engines is not None:
                entry["engines"] = self._engines.where(adapter_id or "")
            shown.append(entry)
        return shown


def _rivals(slots: Slots, lanes: Iterable[AdapterQueue], adapter_id: str | None = None) -> tuple[bool, int]:
    """Whether other adapters are waited for that have no slot, and how many of them, up to all slots, lack
    only that."""
    waited_for, rivals = False, set[str | None]()
    for lane in lanes:
        if lane.takes_slot and lane.adapter_id != adapter_id and lane.adapter_id not in slots.residents:
            waited_for = True
            if lane.has_place:
                rivals.add(lane.adapter_id)
                if len(rivals) >= slots.slots:
                    break
    return waited_for, len(rivals)
