"""How much was asked for lately, in tokens a second: what is past fades exponentially. Clockless."""

from __future__ import annotations

import math

FORGOTTEN_S = 60.0
"""After this time 37 % (1/e) of a request's tokens still count."""
LEAST_SEEN_S = 10.0
"""Shorter observations count as this long: after a second one request would look like a stream of them."""
LEAST_TOKENS = 0.01
"""An adapter with fewer left counts as not asked for, and is dropped."""


class FadingRate:
    """Tokens/s by adapter. A steady rate is told in full from the start on, since the mean is over the time
    that was observed. Times are seconds of one clock.
    """

    def __init__(self) -> None:
        self._began: float | None = None
        self._faded: dict[str, tuple[float, float]] = {}
        """Tokens, and the time to which they have faded."""

    def begin(self, now: float) -> None:
        """Tokens are counted from now on; only the first call says so."""
        if self._began is None:
            self._began = now

    def add(self, adapter_id: str, tokens: float, now: float) -> None:
        """So many were asked of the adapter."""
        self.begin(now)
        before, at = self._faded.get(adapter_id, (0.0, now))
        self._faded[adapter_id] = (before * _left(now - at) + tokens, now)

    def tokens_per_s(self, now: float) -> dict[str, float]:
        """By adapter, for those that were asked for lately."""
        if self._began is None:
            return {}
        seen_s = FORGOTTEN_S * (1 - _left(max(now - self._began, LEAST_SEEN_S)))
        rest = {one: tokens * _left(now - at) for one, (tokens, at) in self._faded.items()}
        self._faded = {one: (tokens, now) for one, tokens in rest.items() if tokens >= LEAST_TOKENS}
        return {one: tokens / seen_s for one, (tokens, _) in self._faded.items()}


def _left(passed_s: float) -> float:
    return math.exp(-max(passed_s, 0.0) / FORGOTTEN_S)
