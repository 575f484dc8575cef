"""Which adapters may be at the engine together, where there are more than LoRA slots. Pure and clockless.

vLLM holds back the requests of an adapter that finds no slot, so a busy adapter can starve another, and
adapters are swapped at nearly every step. Here an adapter is *resident* while it holds one of S slots:

- a resident adapter's requests enter at once, until it has had both its least residency and its quantum
  while another adapter, which could go on, waits for a slot;
- then it admits no more, drains, and gives its slot to the next in turn (deficit round robin, where every
  request costs 1); of several only as many as slots are waited for, those first that have least in flight;
- an adapter with work in flight is never evicted, and an idle one not before its least residency is over.

So with W adapters waiting, a quantum of Q requests, a longest request of t seconds and a least residency of R
seconds, the first request of a waiting adapter enters within ceil(W / S) * (max(R, Q * t) + t) seconds; the
p-th of its queue within 1 + floor(p / Q) times that. Places that its task or the gateway lacks come on top.
By rounds a quantum is Q times what is in flight, which takes as long as Q requests one after the other: Q * t
at the most as well. So an adapter with fifty at once need not drain, for as long as its longest takes, after
a second.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

QUANTUM = 8
"""Requests that an adapter may begin in one turn, while others wait. Simulated with clients that keep to
their adapter: with 32 the longest wait is three times as long for 4 % more requests/s, with 4 two thirds as
long for 7 % fewer."""

OnResident = Callable[[str, int, str], None]
"""Told of an adapter that takes a slot (1) or leaves it (-1), and why it had left it, or leaves it now."""
FIRST_USE = "first_use"
EVICTED = "evicted"
RESTART = "restart"
MOVED = "moved"
"""It was unloaded from that engine, and others have it."""
ALL_FIT = "all_fit"
"""There are slots for all now, and nobody holds one."""
MOST_REMEMBERED = 10_000
"""Adapters without a slot, for why they have none."""


def takes_slot(adapter_id: str | None) -> bool:
    """Whether an engine's model is an adapter; the base needs no slot."""
    return adapter_id is not None and "@" in adapter_id


@dataclass(slots=True)
class Resident:
    """An adapter in a slot; times are seconds of whatever clock the caller has."""

    since: float
    in_flight: int = 0
    spent: int = 0
    """Requests begun since others began to wait."""


class Slots:
    """The residency as the gateway believes it; the engine is not asked."""

    def __init__(
        self,
        slots: int,
        least_residency_s: float,
        quantum: int = QUANTUM,
        on_resident: OnResident | None = None,
        *,
        by_rounds: bool = False,
    ) -> None:
        """`by_rounds`: the quantum is of requests one after the other, each beside all that are in flight."""
        self.slots = slots
        self.least_residency_s = least_residency_s
        self.quantum = quantum
        self.by_rounds = by_rounds
        self._on_resident = on_resident or _unobserved
        self.in_flight = 0
        """Of all residents together."""
        self.residents: dict[str, Resident] = {}
        """By when they were used last; the first has been left alone the longest."""

    def adopt(self, in_flight: Mapping[str | None, int], now: float) -> None:
        """What is at the engine already; they may be more than slots until they have ended."""
        for adapter_id, count in in_flight.items():
            if adapter_id is not None and takes_slot(adapter_id):
                self._settle(adapter_id, now).in_flight = count
                self.in_flight += count

    def resize(self, slots: int) -> None:
        """Another number of slots; of fewer, those in use stay until they are idle."""
        self.slots = slots
        for adapter_id in [each for each, one in self.residents.items() if not one.in_flight]:
            if len(self.residents) > slots:
                self._evict(adapter_id)

    def clear(self, why: str) -> None:
        """Nobody is resident any more."""
        for adapter_id in list(self.residents):
            self._evict(adapter_id, why)

    @property
    def is_free(self) -> bool:
        """Whether a slot is, without an eviction."""
        return len(self.residents) < self.slots

    def may_evict(self, now: float) -> bool:
        """Whether a slot could be made free; none can be while there are more residents than slots."""
        return len(self.residents) == self.slots and self._evictable(now) is not None

    def goes_on(self, adapter_id: str, now: float, *, contended: int) -> bool:
        """Whether a resident adapter's next request may begin, where `contended` is as for `admit`."""
        return not (contended and adapter_id in self._giving_way(contended, now))

    def _giving_way(self, contended: int, now: float) -> list[str]:
        """Of those that had their turn as many as slots are wanted: whose last request may end first."""
        over = [each for each, one in self.residents.items() if self._had_its_turn(one, now)]
        if len(over) > contended:
            over.sort(key=lambda each: self.residents[each].in_flight)
            del over[contended:]
        return over

    def admit(self, adapter_id: str, now: float, *, waited_for: bool, contended: int) -> bool:
        """Whether a request may begin now; then it counts as in flight.

        `waited_for`: another adapter without a slot has requests waiting. `contended`: so many adapters
        lack nothing but the slot.
        """
        resident = self.residents.get(adapter_id)
        if resident is None:
            if not self._make_room(now):
                return False
            resident = self._settle(adapter_id, now)
        elif not self.goes_on(adapter_id, now, contended=contended):
            return False
        else:
            # Used last, so that it stands at the end.
            self.residents[adapter_id] = self.residents.pop(adapter_id)
        resident.in_flight += 1
        self.in_flight += 1
        resident.spent = resident.spent + 1 if waited_for else 0
        return True

    def leave(self, adapter_id: str) -> None:
        """One of its requests has ended; idle, it is evicted where there are more residents than slots."""
        resident = self.residents.get(adapter_id)
        # It may have begun before a `clear`, which forgets what is in flight.
        if resident is None or not resident.in_flight:
            return
        resident.in_flight -= 1
        self.in_flight -= 1
        if not resident.in_flight and len(self.residents) > self.slots:
            self._evict(adapter_id)

    def vacate(self, adapter_id: str, why: str = EVICTED) -> None:
        """Give the slot back before its least residency is over, where nothing is in flight."""
        resident = self.residents.get(adapter_id)
        if resident is not None and not resident.in_flight:
            self._evict(adapter_id, why)

    def since(self, adapter_id: str) -> float | None:
        """When it took its slot; None where it has none."""
        resident = self.residents.get(adapter_id)
        return None if resident is None else resident.since

    def due_in(self, now: float) -> float | None:
        """Seconds until an idle adapter may be evicted; None where none is idle."""
        rests = [  # in this order of terms it is 0 just where `_evictable` finds it
            self.least_residency_s - (now - resident.since)
            for resident in self.residents.values()
            if not resident.in_flight
        ]
        return max(0.0, min(rests)) if rests else None

    def _had_its_turn(self, resident: Resident, now: float) -> bool:
        begun = self.quantum * max(1, resident.in_flight) if self.by_rounds else self.quantum
        return resident.spent >= begun and now - resident.since >= self.least_residency_s

    def _make_room(self, now: float) -> bool:
        while len(self.residents) >= self.slots:
            idle = self._evictable(now)
            if idle is None:
                return False
            self._evict(idle)
        return True

    def _evictable(self, now: float) -> str | None:
        """The idle adapter that was used the longest ago and has had its least residency."""
        for adapter_id, resident in self.residents.items():
            if not resident.in_flight and now - resident.since >= self.least_residency_s:
                return adapter_id
        return None

    def _settle(self, adapter_id: str, now: float) -> Resident:
        resident = self.residents[adapter_id] = Resident(now)
        self._on_resident(adapter_id, 1, "")
        return resident

    def _evict(self, adapter_id: str, why: str = EVICTED) -> None:
        self.in_flight -= self.residents.pop(adapter_id).in_flight
        self._on_resident(adapter_id, -1, why)


def _unobserved(adapter_id: str, change: int, why: str) -> None:
    pass
