"""How many bytes may be held at once, over all requests of one worker."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    owner: str
    size_bytes: int
    admitted: asyncio.Future[None]


def _single() -> bool:
    return False


class ByteBudget:
    """A number of bytes that is shared; what is alone may be larger than all of it, or it could never be.

    Of several owners none has more than half, so that one leaves room for the others. Use it in one event
    loop. Whoever waits is let in in order.
    """

    def __init__(self, most_bytes: int, several_owners: Callable[[], bool] = _single) -> None:
        self.most_bytes = most_bytes
        self.held_bytes = 0
        self._several = several_owners
        self._of_owner: Counter[str] = Counter()
        self._waiting: deque[_Waiting] = deque()

    def try_take(self, size_bytes: int, owner: str = "") -> bool:
        """Whether there is room now, and nobody waits for it; `give_back` must follow a True."""
        if self._waiting or not (self._fits(size_bytes) and self._is_its_part(size_bytes, owner)):
            return False
        self._add(size_bytes, owner)
        return True

    async def take(self, size_bytes: int, timeout_s: float | None = None, owner: str = "") -> None:
        """Wait for room; `give_back` must follow. Raises TimeoutError; then nothing is taken."""
        if self.try_take(size_bytes, owner):
            return
        place = _Waiting(owner, size_bytes, asyncio.get_running_loop().create_future())
        self._waiting.append(place)
        self._let_in()  # those before it may wait for their own part alone
        try:
            async with asyncio.timeout(timeout_s):
                await place.admitted
        except BaseException:
            if place.admitted.done() and not place.admitted.cancelled():
                self.give_back(size_bytes, owner)  # let in and given up in the same turn of the loop
            else:
                self._waiting.remove(place)
                self._let_in()  # a smaller one may have stood behind it
            raise

    def give_back(self, size_bytes: int, owner: str = "") -> None:
        """What was taken is free again, and goes to those who wait."""
        self._add(-size_bytes, owner)
        if not self._of_owner[owner]:
            del self._of_owner[owner]
        if self._waiting:
            self._let_in()

    def _add(self, size_bytes: int, owner: str) -> None:
        self.held_bytes += size_bytes
        self._of_owner[owner] += size_bytes

    def _fits(self, size_bytes: int) -> bool:
        return not self.held_bytes or self.held_bytes + size_bytes <= self.most_bytes

    def _is_its_part(self, size_bytes: int, owner: str) -> bool:
        own_bytes = self._of_owner.get(owner, 0)
        return not own_bytes or not self._several() or own_bytes + size_bytes <= self.most_bytes // 2

    def _let_in(self) -> None:
        for place in list(self._waiting):
            if place.admitted.done() or not self._is_its_part(place.size_bytes, place.owner):
                continue  # cancelled, and its own coroutine has yet to notice; or it waits for its own
            # Nobody is let past one that does not fit yet: smaller ones would keep a large one out for ever.
            if not self._fits(place.size_bytes):
                return
            self._waiting.remove(place)
            self._add(place.size_bytes, place.owner)
            place.admitted.set_result(None)
