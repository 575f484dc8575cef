"""The slots of several engines, each with its own adapters in them: where a request may go. Clockless.

On each engine adapters take turns as `lora_slots` says. Here is what comes on top: nobody goes to an engine
whose seats are all taken, and an adapter that has slots at such alone waits for another one as those do that
have none; a request goes where its adapter has a slot, and to another engine as `choose` decides between a
wait and a load; there it takes no slot that somebody waits for who has none anywhere. Every admission is one
seat at one engine: `take` hands it out, and as those of one adapter are alike, to whoever of its requests
asks first.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from gateway.admission.turns.lora_slots import MOVED, QUANTUM, RESTART, Slots

OnEngine = Callable[[str, str, int, str], None]
"""Engine, adapter, and then as `lora_slots.OnResident`."""


@dataclass(frozen=True, slots=True)
class EngineRoom:
    """An engine's LoRA slots and the adapters that may take them, as the snapshot has it."""

    slots: int
    loaded: frozenset[str]
    """Adapters that it may be asked for."""


class Rival(Protocol):
    """What waits for an adapter, or for the base."""

    @property
    def adapter_id(self) -> str | None: ...

    @property
    def has_place(self) -> bool:
        """It could go on, had its adapter a slot."""


class Able(NamedTuple):
    """An engine that may take a request for an adapter."""

    name: str
    resident: bool
    """It is in a slot there."""
    in_flight: int
    """With those that were admitted a moment ago, and are yet to be sent."""


Choose = Callable[[Sequence[Able]], str]
"""One of them, by its name."""


Seats = Callable[[str], int]
"""Requests that an engine, by its name, runs at once."""


def first_of(able: Sequence[Able]) -> str:
    """Where nobody decides: the first that has it, else the first."""
    return next((one.name for one in able if one.resident), able[0].name)


class EngineSlots:
    """By engine; what the gateway believes, as no engine tells."""

    def __init__(
        self,
        least_residency_s: float,
        on_engine: OnEngine,
        choose: Choose = first_of,
        seats: Seats | None = None,
        quantum: int = QUANTUM,
    ) -> None:
        """Without `seats` no engine is ever full, and a turn's quantum is of requests, not of rounds."""
        self._least_residency_s = least_residency_s
        self._on_engine = on_engine
        self._choose = choose
        self._seats_of = seats
        self._quantum = quantum
        self._slots: dict[str, Slots] = {}
        self._loaded: dict[str, frozenset[str]] = {}
        self._homes: dict[str, list[str]] = {}
        """By adapter the engines that have loaded it: a request asks those alone, however many there are."""
        self._where: dict[str, dict[str, None]] = {}
        """By adapter the engines that have it in a slot."""
        self._seats: defaultdict[str, list[str]] = defaultdict(list)
        """By adapter: where those may go that were admitted and have not asked where."""

    def follow(self, rooms: Mapping[str, EngineRoom]) -> None:
        """The engines of now. What is in flight at one that is gone, or came before this, is not counted."""
        for name in self._slots.keys() - rooms.keys():
            self._slots.pop(name).clear(RESTART)
        self._loaded = {name: room.loaded for name, room in rooms.items()}
        self._homes = {}
        for name, room in rooms.items():
            for adapter_id in room.loaded:
                self._homes.setdefault(adapter_id, []).append(name)
        for name, room in rooms.items():
            if name not in self._slots:
                self._slots[name] = self._made(name, room.slots)
                continue
            slots = self._slots[name]
            for adapter_id in slots.residents.keys() - room.loaded:
                slots.vacate(adapter_id, MOVED)
            slots.resize(room.slots)

    def clear(self, why: str) -> None:
        """Nobody is resident any more."""
        for slots in self._slots.values():
            slots.clear(why)

    def where(self, adapter_id: str) -> list[str]:
        """The engines that have it in a slot."""
        return list(self._where.get(adapter_id, ()))

    def since(self, adapter_id: str) -> float | None:
        """When it took the first of its slots; None where it has none."""
        found = (self._slots[name].since(adapter_id) for name in self._where.get(adapter_id, ()))
        return min((since for since in found if since is not None), default=None)

    @property
    def residents(self) -> list[str]:
        """Every adapter that has a slot."""
        return list(dict.fromkeys(one for slots in self._slots.values() for one in slots.residents))

    def admit(self, adapter_id: str, waiting: Collection[Rival], now: float, *, new: bool) -> bool:
        """Whether a request may begin now; then a seat is its own, which `take` tells.

        `waiting`: all that wait. A `new` one takes no slot before other adapters among them.
        """
        served = self._is_served(adapter_id)
        able: list[Able] = []
        tight: list[Able] = []
        # Nobody waits at an engine for a seat, where no turn could be kept (design 112).
        homes = [name for name in self._homes.get(adapter_id, ()) if not self.is_full(name)]
        sought = {name: self._sought(name, waiting, adapter_id) for name in homes}
        for name, (_, contended) in sought.items():
            slots = self._slots[name]
            if adapter_id in slots.residents:
                if slots.goes_on(adapter_id, now, contended=contended):
                    able.append(Able(name, True, slots.in_flight))
            # A slot that others lack everywhere is neither a newcomer's nor a second one.
            elif not (contended and (new or served)):
                if slots.is_free:
                    able.append(Able(name, False, slots.in_flight))
                elif slots.may_evict(now):
                    tight.append(Able(name, False, slots.in_flight))
        if all(one.resident for one in able):
            able += tight  # where a slot is free nobody has to leave one
        if not able:
            return False
        name = able[0].name if len(able) == 1 else self._choose(able)
        waited_for, contended = sought[name]
        self._slots[name].admit(adapter_id, now, waited_for=waited_for, contended=contended)
        self._seats[adapter_id].append(name)
        return True

    def take(self, adapter_id: str) -> str | None:
        """The engine of one that was admitted; None where it may go anywhere."""
        seats = self._seats.get(adapter_id)
        if not seats:
            return None
        name = seats.pop(0)
        if not seats:
            del self._seats[adapter_id]
        return name

    def leave(self, adapter_id: str, engine: str) -> None:
        """One of its requests has ended there."""
        slots = self._slots.get(engine)
        if slots is None:
            return
        slots.leave(adapter_id)
        # It is to leave that engine, and had requests there when `follow` said so.
        if adapter_id not in self._loaded[engine]:
            slots.vacate(adapter_id, MOVED)

    def vacate(self, adapter_id: str, engine: str) -> None:
        """Give an adapter's slot on that engine up, as `Slots.vacate`; nothing where it is not known."""
        if engine in self._slots:
            self._slots[engine].vacate(adapter_id)

    def due_in(self, waiting: Collection[Rival], now: float) -> float | None:
        """Seconds until an idle adapter gives its slot to one that lacks only that; None where none does."""
        rests = [
            rest_s
            for name, slots in self._slots.items()
            if not self.is_full(name)
            and self._sought(name, waiting)[1]
            and (rest_s := slots.due_in(now)) is not None
        ]
        return min(rests, default=None)

    def _sought(
        self, engine: str, waiting: Collection[Rival], adapter_id: str | None = None
    ) -> tuple[bool, int]:
        """Whether others wait for a slot of it that are served nowhere, and how many slots these lack here.

        One that has several homes wants its part of a slot of each. Asked at every turn of each that waits:
        it looks no further than it must.
        """
        loaded, slots = self._loaded[engine], self._slots[engine]
        waited_for, rivals = False, set[str]()
        for one in waiting:
            other = one.adapter_id
            if (
                other is None
                or other not in loaded
                or other == adapter_id
                or other in slots.residents
                or other in rivals
                or self._is_served(other)
            ):
                continue
            waited_for = True
            if one.has_place:
                rivals.add(other)
                if len(rivals) == slots.slots:
                    break
        return waited_for, math.ceil(sum(1 / len(self._homes[one]) for one in rivals))

    def _is_served(self, adapter_id: str) -> bool:
        """Whether it has a slot at an engine with a seat; where those are full it lacks one as others do."""
        return any(not self.is_full(name) for name in self._where.get(adapter_id, ()))

    def is_full(self, engine: str) -> bool:
        """Whether every seat of it is taken."""
        return self._seats_of is not None and self._slots[engine].in_flight >= self._seats_of(engine)

    def _made(self, engine: str, slots: int) -> Slots:
        def moved(adapter_id: str, change: int, why: str) -> None:
            # Kept up to date here, since every admission asks it.
            if change > 0:
                self._where.setdefault(adapter_id, {})[engine] = None
            else:
                there = self._where[adapter_id]
                del there[engine]
                if not there:
                    del self._where[adapter_id]
            self._on_engine(engine, adapter_id, change, why)

        rounds = self._seats_of is not None
        return Slots(slots, self._least_residency_s, self._quantum, moved, by_rounds=rounds)
