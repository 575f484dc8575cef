"""A minute's allowance as a token bucket: full at first, refilled evenly. Pure; times in seconds."""

from __future__ import annotations

WINDOW_S = 60.0


def level_now(level: float, at: float, now: float, limit: float) -> float:
    """What is there at `now`, of at most `limit`; never touched, with `at` 0, it is full.

    A clock that was set back refills nothing and takes nothing. Where it was set back by more than a bucket
    takes to fill, nobody knows what has passed: it is full, or who is out of it would be so until the clock
    is where it was.
    """
    if not at or now < at - WINDOW_S:
        return limit
    if now > at:
        level += (now - at) * limit / WINDOW_S
    return level if level < limit else limit


def seconds_until(level: float, wanted: float, limit: float) -> float:
    """How long until `wanted` is there, which is at most `limit`; 0 where it is."""
    return max(0.0, wanted - level) * WINDOW_S / limit
