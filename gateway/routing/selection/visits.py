"""What is in flight at one of several engines, by adapter and in tokens: visits, from sending to end.

Only where there are several: with one engine nobody asks which.
"""

from __future__ import annotations

from collections import Counter


class Visits:
    """Requests that this gateway has under way at one replica, and their tokens."""

    __slots__ = ("by_adapter", "count", "tokens")

    def __init__(self) -> None:
        self.count = 0
        self.tokens = 0
        """Of all its requests: their prompts, and what they may be answered with."""
        self.by_adapter: Counter[str] = Counter()
        """Those at 0 are kept until the next snapshot."""

    def begin(self, adapter_id: str, tokens: int) -> Visit:
        """Count a request as under way there; whoever is given the visit must call `Visit.end` once."""
        self.count += 1
        self.tokens += tokens
        self.by_adapter[adapter_id] += 1
        return Visit(self, adapter_id, tokens)

    def tidy(self) -> None:
        """Forget adapters that have none."""
        # Another dict, without those at 0; visits under way find it here.
        self.by_adapter = +self.by_adapter


class Visit:
    """One request at a replica."""

    __slots__ = ("_adapter_id", "_tokens", "_visits")

    def __init__(self, visits: Visits, adapter_id: str, tokens: int) -> None:
        self._visits = visits
        self._adapter_id = adapter_id
        self._tokens = tokens

    def end(self) -> None:
        """It is there no longer; to be called once."""
        self._visits.count -= 1
        self._visits.tokens -= self._tokens
        self._visits.by_adapter[self._adapter_id] -= 1
