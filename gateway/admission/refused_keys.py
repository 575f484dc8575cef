"""Refusals, by whose they are and why: told by the minute, not each time."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

from gateway.errors import RequestError

WINDOW_S = 60.0
MOST_WINDOWS = 4096
"""Open at once; the one that began first is closed for another."""

What = TypeVar("What")
Noted = Callable[[str, str, int, int], None]
"""Told a key, the refusals' code and status, and how many there were."""


class MinuteWindows(Generic[What]):
    """How often each thing comes within a minute of its first time."""

    def __init__(self, ended: Callable[[What, int], None], now: Callable[[], float]) -> None:
        """`ended` is told at a window's end what came more than once, and how often."""
        self._ended = ended
        self._now = now
        self._open: OrderedDict[What, tuple[float, int]] = OrderedDict()
        """When each began, and its count; in the order in which they began."""

    def __len__(self) -> int:
        return len(self._open)

    def count(self, what: What) -> tuple[int, float]:
        """One more of it: how many that makes in its window, and how many seconds are left of that."""
        now = self._now()
        while self._open and next(iter(self._open.values()))[0] <= now - WINDOW_S:
            self._end_first()
        began, seen = self._open.get(what, (now, 0))
        while not seen and len(self._open) >= MOST_WINDOWS:
            self._end_first()
        self._open[what] = began, seen + 1
        return seen + 1, began + WINDOW_S - now

    def close(self) -> None:
        """Tell what is counted and not told yet."""
        while self._open:
            self._end_first()

    def _end_first(self) -> None:
        what, (_, count) = self._open.popitem(last=False)
        if count > 1:
            self._ended(what, count)


def is_refusal(error: RequestError) -> bool:
    """Whether it was sent away for what it, or all together, may have."""
    return error.status == 429 or error.code == "overloaded"


class RefusedKeys:
    """Refusals of each key by their code: the first is told at once, and all of them at their minute's end.

    So a flood leaves two lines a minute.
    """

    def __init__(self, noted: Noted, now: Callable[[], float] = time.monotonic) -> None:
        self._noted = noted
        self._windows = MinuteWindows[tuple[str, str, int]](lambda what, count: noted(*what, count), now)

    def count(self, key: str, error: RequestError) -> None:
        """One more, where it is a refusal."""
        if is_refusal(error):
            code = error.code or error.kind
            if not self.again(key, code, error.status):
                self._noted(key, code, error.status, 1)

    def again(self, key: str, code: str, status: int) -> bool:
        """Whether its like came in this minute already; then it is told with all of them, at its end."""
        return self._windows.count((key, code, status))[0] > 1

    def close(self) -> None:
        """Tell what is counted and not told yet."""
        self._windows.close()
