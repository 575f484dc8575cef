"""Refusals, by whose they are and why: told by the minute, not each time."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

from gateway.errors import RequestError

WINDOW_S = 60.0
MOST_WINDOWS = 4096
"""Open at once; the one that began first is closed for another."""

Noted = Callable[[str, str, int, int], None]
"""Told a key, the refusals' code and status, and how many there were."""


def is_refusal(error: RequestError) -> bool:
    """Whether it was sent away for what it, or all together, may have."""
    return error.status == 429 or error.code == "overloaded"


class RefusedKeys:
    """A window of a minute for each key and code, from its first refusal on.

    That one is told at once, and all of them at the window's end: a flood leaves two lines a minute.
    """

    def __init__(self, noted: Noted, now: Callable[[], float] = time.monotonic) -> None:
        self._noted = noted
        self._now = now
        self._windows: OrderedDict[tuple[str, str, int], list[float]] = OrderedDict()
        """When each began, and its count; in the order in which they began."""

    def count(self, key: str, error: RequestError) -> None:
        """One more, where it is a refusal."""
        if is_refusal(error):
            code = error.code or error.kind
            if not self.again(key, code, error.status):
                self._noted(key, code, error.status, 1)

    def again(self, key: str, code: str, status: int) -> bool:
        """Whether its like came in this minute already; then it is told with all of them, at its end."""
        now = self._now()
        self._close_until(now - WINDOW_S)
        what = (key, code, status)
        window = self._windows.get(what)
        if window is not None:
            window[1] += 1
            return True
        while len(self._windows) >= MOST_WINDOWS:
            self._close()
        self._windows[what] = [now, 1]
        return False

    def close(self) -> None:
        """Tell what is counted and not told yet."""
        while self._windows:
            self._close()

    def _close_until(self, began: float) -> None:
        while self._windows and next(iter(self._windows.values()))[0] <= began:
            self._close()

    def _close(self) -> None:
        what, (_, count) = self._windows.popitem(last=False)
        if count > 1:
            self._noted(*what, int(count))
