"""How many lines run at once, shared out between the tenants and keys whose batches run."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gateway.admission.turns.fair_turns import Whose


class Concurrency:
    """A key's batches come one after another; tenants and their keys side by side, each with its part.

    So one whose lines must wait does not hold up the others, and a tenant with many keys has no more than one
    with a single key. A free place goes to the tenant, and of its keys to the one, that has the fewest.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._turns: dict[Whose, asyncio.Lock] = {}
        self._taken: dict[Whose, int] = {}
        """By whose turn it is."""
        self._waiting: list[tuple[Whose, asyncio.Future[None]]] = []
        """Those that came first stand first."""

    @asynccontextmanager
    async def turn(self, whose: Whose) -> AsyncIterator[None]:
        """Wait until no other batch of that key's takes places; give all of them back before the end."""
        async with self._turns.setdefault(whose, asyncio.Lock()):
            self._taken[whose] = 0
            try:
                yield
            finally:
                del self._taken[whose]
                self._admit()

    async def take(self, whose: Whose) -> None:
        place = asyncio.get_running_loop().create_future()
        self._waiting.append((whose, place))
        self._admit()
        try:
            await place
        except asyncio.CancelledError:
            if place.cancelled():
                self._admit()
            else:
                self.give_back(whose)
            raise

    def give_back(self, whose: Whose) -> None:
        self._taken[whose] -= 1
        self._admit()

    def _admit(self) -> None:
        if not self._waiting:
            return
        self._waiting = [one for one in self._waiting if not one[1].done()]
        by_tenant, keys = Counter[str](), Counter[str]()
        for (tenant, _), taken in self._taken.items():
            by_tenant[tenant] += taken
            keys[tenant] += 1
        part = max(1, self._most // len(keys)) if keys else 0

        def fits(whose: Whose) -> bool:
            tenant, _ = whose
            return by_tenant[tenant] < part and self._taken[whose] < max(1, part // keys[tenant])

        while self._waiting and by_tenant.total() < self._most:
            fitting = [one for one in self._waiting if fits(one[0])]
            if not fitting:
                return
            first = min(fitting, key=lambda one: (by_tenant[one[0][0]], self._taken[one[0]]))
            self._waiting.remove(first)
            whose, place = first
            by_tenant[whose[0]] += 1
            self._taken[whose] += 1
            place.set_result(None)
