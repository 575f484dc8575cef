"""How many lines run at once, shared out between the keys whose batches run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Concurrency:
    """A key's batches come one after another; keys side by side, each with its part of the places.

    So one whose lines must wait does not hold up the others.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._turns: dict[str, asyncio.Lock] = {}
        self._taken: dict[str, int] = {}
        """By whose turn it is."""
        self._waiting: list[tuple[str, asyncio.Future[None]]] = []

    @asynccontextmanager
    async def turn(self, owner: str) -> AsyncIterator[None]:
        """Wait until no other batch of that owner's takes places; give all of them back before the end."""
        async with self._turns.setdefault(owner, asyncio.Lock()):
            self._taken[owner] = 0
            try:
                yield
            finally:
                del self._taken[owner]
                self._admit()

    async def take(self, owner: str) -> None:
        place = asyncio.get_running_loop().create_future()
        self._waiting.append((owner, place))
        self._admit()
        try:
            await place
        except asyncio.CancelledError:
            if place.cancelled():
                self._admit()
            else:
                self.give_back(owner)
            raise

    def give_back(self, owner: str) -> None:
        self._taken[owner] -= 1
        self._admit()

    def _admit(self) -> None:
        waiting, self._waiting = self._waiting, []
        for owner, place in waiting:
            if place.done():
                continue
            if self._has_room(owner):
                self._taken[owner] += 1
                place.set_result(None)
            else:
                self._waiting.append((owner, place))

    def _has_room(self, owner: str) -> bool:
        part = max(1, self._most // len(self._taken))
        return sum(self._taken.values()) < self._most and self._taken[owner] < part
