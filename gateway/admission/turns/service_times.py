"""How long the answers of one task take, to judge by whether one can still be there in time. Pure."""

from __future__ import annotations

import statistics
from collections import deque

REMEMBERED = 32
ENOUGH = 8


class ServiceTimes:
    """Of the latest answers, from their place to their end."""

    __slots__ = ("_seconds", "_tokens")

    def __init__(self) -> None:
        self._seconds: deque[float] = deque(maxlen=REMEMBERED)
        self._tokens: deque[int] = deque(maxlen=REMEMBERED)

    def took(self, seconds: float, tokens: int) -> None:
        """A whole answer of so many tokens."""
        self._seconds.append(seconds)
        self._tokens.append(tokens)

    def expected_s(self, tokens: int) -> float:
        """For one that may have so many tokens: what three of four do not exceed, or less.

        0 where too little is known.
        """
        if len(self._seconds) < ENOUGH:
            return 0.0
        usual = statistics.median(self._tokens)
        usual_s = statistics.quantiles(self._seconds, n=4)[2]
        return usual_s * (min(1.0, tokens / usual) if usual else 1.0)
