"""Which adapters may be at the engine together, where there are more than LoRA slots. Pure and clockless.

vLLM holds back the requests of an adapter that finds no slot, so a busy adapter can starve another, and
adapters are swapped at nearly every step. Here an adapter is *resident* while it holds one of S slots:

- a resident adapter's requests enter at once, until it has spent its quantum while others wait for a slot;
- then it admits no more, drains, and gives its slot to the next in turn (deficit round robin, where every
  request costs 1);
- an adapter with work in flight is never evicted, and an idle one not before its least residency is over.

So with W adapters waiting, a quantum of Q requests, a longest request of t seconds and a least residency of R
seconds, the first request of a waiting adapter enters within ceil(W / S) * (max(R, Q * t) + t) seconds; the
p-th of its queue within 1 + floor(p / Q) times that.
"""

from __future__ import annotations

from dataclasses import dataclass

QUANTUM = 32
"""Requests that an adapter may begin in one turn, while others wait."""


@dataclass(slots=True)
class Resident:
    """An adapter in a slot; times are seconds of whatever clock the caller has."""

    since: float
    in_flight: int = 0
    spent: int = 0
    """Requests begun since others began to wait."""


class Slots:
    """The residency as the gateway believes it; the engine is not asked."""

    def __init__(self, slots: int, least_residency_s: float, quantum: int = QUANTUM) -> None:
        self.slots = slots
        self.least_residency_s = least_residency_s
        self.quantum = quantum
        self.residents: dict[str, Resident] = {}
        """By when they were used last; the first has been left alone the longest."""

    def admit(self, adapter_id: str, now: float, contended: bool) -> bool:
        """Whether a request may begin now; then it counts as in flight.

        `contended`: an adapter without a slot has requests waiting.
        """
        resident = self.residents.get(adapter_id)
        if resident is None:
            if len(self.residents) >= self.slots:
                idle = self._evictable(now)
                if idle is None:
                    return False
                del self.residents[idle]
            resident = self.residents[adapter_id] = Resident(now)
        elif contended and resident.spent >= self.quantum:
            return False
        else:
            self.residents[adapter_id] = self.residents.pop(adapter_id)
        resident.in_flight += 1
        resident.spent = resident.spent + 1 if contended else 0
        return True

    def leave(self, adapter_id: str) -> None:
        """A request has ended."""
        resident = self.residents.get(adapter_id)
        if resident is not None and resident.in_flight:
            resident.in_flight -= 1

    def due_in(self, now: float) -> float | None:
        """Seconds until an idle adapter may be evicted; None where none is idle."""
        rests = [
            resident.since + self.least_residency_s - now
            for resident in self.residents.values()
            if not resident.in_flight
        ]
        return max(0.0, min(rests)) if rests else None

    def _evictable(self, now: float) -> str | None:
        """The idle adapter that was used the longest ago and has had its least residency."""
        for adapter_id, resident in self.residents.items():
            if not resident.in_flight and now - resident.since >= self.least_residency_s:
                return adapter_id
        return None
