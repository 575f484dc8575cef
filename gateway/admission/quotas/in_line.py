"""Who waits for one account's room, in their order, and how long an account's requests take."""

from __future__ import annotations

import asyncio

from gateway.admission.quotas.bucket import seconds_until

ANEW = 0.2
"""Of what is known of an account's requests, what the latest counts for."""


class InLine:
    """Of one account, in one process. Whoever holds `lock` stands in front."""

    __slots__ = ("lock", "requests", "tokens", "usual_s")

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.requests = 0
        """That wait, with the one in front."""
        self.tokens = 0.0
        """That they want together."""
        self.usual_s = 0.0
        """How long its requests take; 0 before the first has ended."""

    def joins(self, tokens: float) -> None:
        """One that wants so many begins to wait; `leaves` must follow, or once in front `gives_way`."""
        self.requests += 1
        self.tokens += tokens

    def leaves(self, tokens: float) -> None:
        """A request that waited goes: it takes its place, or its client has left."""
        self.requests -= 1
        self.tokens -= tokens

    def gives_way(self, tokens: float) -> None:
        """Who stood in front stands there no more."""
        self.leaves(tokens)
        self.lock.release()

    def took(self, seconds: float) -> None:
        """A request that held a place has ended after `seconds`; the usual time follows it."""
        self.usual_s += (seconds - self.usual_s) * (ANEW if self.usual_s else 1.0)

    def next_end_s(self, at_once: int) -> float:
        """Until the next of so many that run ends, as far as can be said; a second where nothing is known."""
        return self.usual_s / at_once if self.usual_s else 1.0

    def wait_s(self, level: float, wanted: float, ahead: float, limit: float) -> float:
        """Until a bucket at `level` has what those who wait want (`ahead`) and this one too."""
        return seconds_until(level, ahead + min(wanted, limit), limit)
