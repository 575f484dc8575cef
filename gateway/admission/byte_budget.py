"""How many bytes may be held at once, over all requests of one worker."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager


class ByteBudget:
    """A number of bytes that is shared; what is alone may be larger than all of it, or it could never be.

    Use it in one event loop. Whoever waits is let in in order.
    """

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self.held_bytes = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def try_take(self, size_bytes: int) -> bool:
        """Whether there is room now, and nobody waits for it; `give_back` must follow a True."""
        if self._waiting or not self._fits(size_bytes):
            return False
        self.held_bytes += size_bytes
        return True

    async def take(self, size_bytes: int, timeout_s: float | None = None) -> None:
        """Wait for room; `give_back` must follow. Raises TimeoutError; then nothing is taken."""
        if self.try_take(size_bytes):
            return
        place = (size_bytes, asyncio.get_running_loop().create_future())
        self._waiting.append(place)
        try:
            async with asyncio.timeout(timeout_s):
                await place[1]
        except BaseException:
            if place[1].done() and not place[1].cancelled():
                self.give_back(size_bytes)  # let in and given up in the same turn of the loop
            else:
                self._waiting.remove(place)
                self._let_in()  # a smaller one may have stood behind it
            raise

    def give_back(self, size_bytes: int) -> None:
        """What was taken is free again, and goes to those who wait."""
        self.held_bytes -= size_bytes
        if self._waiting:
            self._let_in()

    @contextmanager
    def giving_back(self, size_bytes: int) -> Iterator[None]:
        """What was taken is given back in the end, however that comes."""
        try:
            yield
        finally:
            self.give_back(size_bytes)

    def _fits(self, size_bytes: int) -> bool:
        return not self.held_bytes or self.held_bytes + size_bytes <= self.most_bytes

    def _let_in(self) -> None:
        for size_bytes, place in list(self._waiting):
            if place.done():
                continue  # cancelled, and its own coroutine has yet to notice
            if not self._fits(size_bytes):
                return
            self._waiting.remove((size_bytes, place))
            self.held_bytes += size_bytes
            place.set_result(None)
