"""Whether a client takes what was written for it. Nothing here reads a clock."""

from __future__ import annotations

LEAST_BYTES_PER_S = 8 * 1024
"""A client that takes less of a whole answer than this holds it, and its connection, for nothing."""


class ReaderPace:
    """One client that has not taken all that was written; times are seconds of one clock."""

    __slots__ = ("_taken_by", "_unsent_bytes")

    def __init__(self, unsent_bytes: int, now: float, least_s: float) -> None:
        """`least_s`: however little there is, it has so long for it."""
        self._unsent_bytes = unsent_bytes
        self._taken_by = now + max(least_s, unsent_bytes / LEAST_BYTES_PER_S)

    def next_look_s(self, unsent_bytes: int, now: float, look_s: float, *, whole: bool) -> float | None:
        """When to look again, `look_s` at the latest; None where it is to be cut off.

        It must have taken something since the last look, and a `whole` answer, to which nothing is added any
        more, within a time that goes with its size. (A stream is bounded by its exchange with the engine.)
        """
        # Nothing left, and still open: TLS, whose client does not answer the goodbye.
        if not 0 < unsent_bytes < self._unsent_bytes or (whole and now >= self._taken_by):
            return None
        self._unsent_bytes = unsent_bytes
        return min(look_s, self._taken_by - now) if whole else look_s
