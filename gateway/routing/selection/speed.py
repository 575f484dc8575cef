"""How quick an engine is, and what others have it do, by what it tells of itself now and then. Clockless."""

from __future__ import annotations

from collections import deque

from gateway.admission.engine_bound import EngineLoad

LOOKS = 8
"""Back to which the most that it did is remembered: what it does while little is asked of it says nothing."""
FRESH_S = 3.0
"""For so long what it told of others' requests is believed."""


class Speed:
    """How many tokens a second one engine does at most, learned from its own counters."""

    def __init__(self) -> None:
        self.tokens_per_s = 0.0
        """Prompts' and answers', when it did most of late; 0 where that is not known."""
        self._did: deque[float] = deque(maxlen=LOOKS)
        self._tokens = self._at = 0.0
        self._others = 0

    def saw(self, load: EngineLoad, own: int, now: float) -> None:
        """Another look, with `own` requests of this gateway at it; `now` in seconds of any clock."""
        passed_s, done = now - self._at, load.tokens - self._tokens
        # Over a longer pause, with few requests in it, it was not full.
        if self._at and 0 < passed_s <= FRESH_S and done > 0:
            self._did.append(done / passed_s)
            self.tokens_per_s = max(self._did)
        self._tokens, self._at = load.tokens, now
        self._others = max(0, load.running + load.waiting - own)

    def others(self, now: float) -> int:
        """Requests that it had beside this gateway's; 0 where that was seen too long ago."""
        return self._others if self._others and now - self._at <= FRESH_S else 0
