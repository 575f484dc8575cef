"""Whose turn it is among the keys that wait: who has had least, by cost. Pure and clockless.

Fair queueing by start tags. A key's tag grows with the cost of what it was let in with; the smallest goes
next. One that begins to wait starts where those who wait are now, or where its own last turn ended: it is not
owed for the time it was away, and cannot shed what it has had by going away. So of two keys that both wait
neither gets more than the other by more than one request of each, whatever a request costs; deficit round
robin promises as much only with a quantum that no single request exceeds.
"""

from __future__ import annotations

MOST_IDLE = 1024
"""Keys that wait no more and are remembered; beyond, those whose last turn is past are forgotten."""


class Claimant:
    """One key's part of the queues."""

    __slots__ = ("key", "tag", "waiting")

    def __init__(self, key: str, tag: float) -> None:
        self.key = key
        self.tag = tag
        self.waiting = 0
        """Requests of it that wait, in every queue."""


class Claimants:
    """Every key that waits, or had its turn a little while ago."""

    def __init__(self) -> None:
        self._known: dict[str, Claimant] = {}
        self._now = 0.0
        """The tag of who was let in last; while nobody waits, the furthest: then all begin alike."""
        self._furthest = 0.0
        self._active = 0

    @property
    def are_several(self) -> bool:
        """Whether more than one key waits."""
        return self._active > 1

    def joins(self, key: str) -> Claimant:
        """The key, one of whose requests begins to wait; `leaves` must follow."""
        owner = self._known.get(key)
        if owner is None:
            if len(self._known) > MOST_IDLE + self._active:
                self._forget()
            owner = self._known[key] = Claimant(key, self._now)
        if not owner.waiting:
            self._active += 1
            owner.tag = max(owner.tag, self._now)
        owner.waiting += 1
        return owner

    def leaves(self, owner: Claimant) -> None:
        """One of its requests waits no more."""
        owner.waiting -= 1
        self._active -= not owner.waiting
        if not self._active:
            self._now = self._furthest

    def has_had(self, owner: Claimant, cost: float) -> None:
        """It was given a turn of that cost."""
        self._now = max(self._now, owner.tag)
        owner.tag += cost
        self._furthest = max(self._furthest, owner.tag)

    def settles(self, key: str, unused: float) -> None:
        """One of its requests took so much less of its cost than was thought; under 0: more."""
        owner = self._known.get(key)
        if owner is not None:
            owner.tag -= unused

    def _forget(self) -> None:
        self._known = {
            key: owner for key, owner in self._known.items() if owner.waiting or owner.tag > self._now
        }
