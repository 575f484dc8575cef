"""How quickly a queue moves, and when it is worth coming again. Pure: who calls has the clock."""

from __future__ import annotations

import math
import random
from collections import deque

REMEMBERED_S = 10.0
"""What was so long ago counts for 1/e."""
MOST_S = 120
GAPS = 64
"""Latest ones, by which it is judged whether a wait can end in time."""
ENOUGH = 8
FORGOTTEN_S = 30.0
"""A queue that was empty for so long may move otherwise now."""
SPREAD = 0.2
"""Clients that were refused together come again within so much of the wait."""


class Pace:
    """One queue's. Only while somebody waits does it say anything how quickly places come free."""

    __slots__ = ("_gaps", "_let_in", "_seen_at", "_seen_s")

    def __init__(self) -> None:
        self._gaps: deque[float] = deque(maxlen=GAPS)
        self._let_in = 0.0
        self._seen_s = 0.0
        self._seen_at = 0.0

    def begins(self, now: float) -> None:
        """The first begins to wait."""
        if now - self._seen_at > FORGOTTEN_S:
            self._gaps.clear()
        self._seen_at = now

    def lets_in(self, now: float) -> None:
        """One that waited has its place."""
        passed_s = now - self._seen_at
        kept = math.exp(-passed_s / REMEMBERED_S)
        self._seen_at = now
        self._gaps.append(passed_s)
        self._seen_s = self._seen_s * kept + passed_s
        self._let_in = self._let_in * kept + 1

    def wait_s(self, waiting: int, now: float) -> float:
        """How long until so many who wait have their places; 0 where nothing is known yet."""
        # A queue that stands still gets longer with each second.
        silent_s = max(0.0, now - self._seen_at)
        return waiting * (self._seen_s + silent_s) / max(self._let_in, 1.0)

    def least_wait_s(self, ahead: int) -> float:
        """What so many ahead take, to judge by whether a wait is in vain; 0 where too little is known.

        The longest gap counts as the second longest: one standstill says nothing of the next.
        """
        gaps = self._gaps
        if len(gaps) < ENOUGH:
            return 0.0
        second, longest = sorted(gaps)[-2:]
        return ahead * (sum(gaps) - longest + second) / len(gaps)

    def retry_after_s(self, waiting: int, now: float) -> int:
        """For a client that is refused: whole seconds, from 1 to `MOST_S`."""
        wait_s = self.wait_s(waiting, now) * random.uniform(1.0, 1.0 + SPREAD)
        return max(1, min(MOST_S, math.ceil(wait_s)))
