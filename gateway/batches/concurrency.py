"""How many lines run at once, shared out between the tenants and keys whose batches run."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

from gateway.admission.turns.fair_turns import Whose


class Concurrency:
    """A key's batches come one after another; tenants and their keys side by side, each with its part.

    So one whose lines must wait does not hold up the others, and a tenant with many keys has no more than one
    with a single key. A free place goes to the tenant, and of its keys to the one, that has the fewest.
    """

    def __init__(self, most: int) -> None:
        self._free = self._most = most
        # Of those that hold a turn or wait for one: the last that does takes the lock with it.
        self._turns: WeakValueDictionary[Whose, asyncio.Lock] = WeakValueDictionary()
        self._taken: dict[str, Counter[Whose]] = {}
        """By tenant, and by whose turn it is."""
        self._waiting: list[tuple[Whose, asyncio.Future[None]]] = []
        """Those that came first stand first."""

    @asynccontextmanager
    async def turn(self, whose: Whose) -> AsyncIterator[None]:
        """Wait until no other batch of that key's takes places; those that it has at the end are free."""
        async with self._turns.setdefault(whose, asyncio.Lock()):
            keys = self._taken.setdefault(whose[0], Counter())
            # Counted from here on: whoever waits with no place yet makes the others' parts smaller too.
            keys[whose] = 0
            try:
                yield
            finally:
                # A line that is cancelled before its first step never comes to give its place back.
                self._free += keys.pop(whose)
                if not keys:
                    del self._taken[whose[0]]
                if self._waiting:
                    self._admit()

    async def take(self, whose: Whose) -> None:
        if not self._waiting and self._fits(whose):
            self._free -= 1
            self._taken[whose[0]][whose] += 1
            return
        place = asyncio.get_running_loop().create_future()
        self._waiting.append((whose, place))
        self._admit()
        try:
            await place
        except asyncio.CancelledError:
            # The place may have come in the same turn of the loop as the cancellation: it goes on.
            if place.cancelled():
                self._admit()
            else:
                self.give_back(whose)
            raise

    def give_back(self, whose: Whose) -> None:
        self._free += 1
        self._taken[whose[0]][whose] -= 1
        if self._waiting:
            self._admit()

    def _fits(self, whose: Whose) -> bool:
        """Whether there is a place, and its tenant and its key have less than their parts."""
        keys = self._taken[whose[0]]
        part = max(1, self._most // len(self._taken))
        return self._free > 0 and keys.total() < part and keys[whose] < max(1, part // len(keys))

    def _admit(self) -> None:
        self._waiting = [one for one in self._waiting if not one[1].done()]
        while fitting := [one for one in self._waiting if self._fits(one[0])]:
            first = min(fitting, key=lambda one: self._has(one[0]))
            self._waiting.remove(first)
            whose, place = first
            self._free -= 1
            self._taken[whose[0]][whose] += 1
            place.set_result(None)

    def _has(self, whose: Whose) -> tuple[int, int]:
        """Places of its tenant, and of the key."""
        keys = self._taken[whose[0]]
        return keys.total(), keys[whose]
