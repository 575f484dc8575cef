"""The text of an answer on its way out: in order, and not made faster than it is taken."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

MOST_CHARS = 64 * 1024
"""While so much waits to be taken, whoever writes waits too."""


class Outlet:
    """Any number of tasks write, one reads."""

    def __init__(self, most_chars: float = MOST_CHARS) -> None:
        self._most_chars = most_chars
        self._pieces: deque[str] = deque()
        self._size = 0
        self._ended = False
        self._turn = asyncio.Lock()
        self._news = asyncio.Event()
        self._taken = asyncio.Event()

    async def write(self, make: Callable[[], str]) -> None:
        """Add the text that `make` gives. It is called in the turn of those who write, and so is in order."""
        async with self._turn:
            # Made before there is room: the rest wait for the lock, so one piece alone is over the bound.
            text = make()
            while text and self._size >= self._most_chars:
                self._taken.clear()
                await self._taken.wait()
            if text:
                self._pieces.append(text)
                self._size += len(text)
                self._news.set()

    def take(self) -> str:
        """All that was written, where nobody reads on the way."""
        return "".join(self._pieces)

    def end(self) -> None:
        """Nothing more will be written."""
        self._ended = True
        self._news.set()

    async def read(self) -> str | None:
        """The next piece; None once there is none any more."""
        while not self._pieces:
            if self._ended:
                return None
            self._news.clear()
            await self._news.wait()
        text = self._pieces.popleft()
        self._size -= len(text)
        self._taken.set()
        return text
