"""How many requests one engine is given at once, as it shows what it can take. Pure and clockless.

What an engine cannot run yet it queues, first come first served, where nobody's turn can be kept. So it is
given as many as it runs, and a few more, so that none of its seats is empty while the next is on its way; the
rest waits in the gateway. A fixed bound cannot do that: what an engine runs hangs on its settings, on its
cache, and on how long the requests of the moment are. And an engine may run more than it answers in time:
where clients' deadlines pass at it, fewer at once are each answered sooner.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

EVERY_S = 1.0
"""Between two looks."""
CLOSELY_S = 0.25
"""While requests wait."""
FEW = 4
"""Requests in flight with which no engine is full. None is asked then: it costs vLLM milliseconds."""
LOOKS = 8
"""Back to which the most that ran is remembered."""
IN_A_ROW = 2
"""Looks that must find it full: what came just now it queues until its next step."""
CALM = 4
"""Looks without a queue after which one that was full once is given a little more."""
NEXT_UP = 0.1
"""Of what runs, the share that may stand ready behind it; at least one."""
FIRST_STEPS = 1.5
"""Growth from look to look until it was full for the first time."""
NEARLY = 0.8
"""Of the bound: with less at the engine a larger one would change nothing."""
FULL_CACHE = 0.95
LATE_SHARE = 0.1
"""Of the requests that ended, those whose client waited no longer: with more, fewer run at once."""
LEAST_LEFT = 0.5
"""Of the bound, what is left where all were late."""
EASED = 0.9
"""What is left of the most that ran where the engine had to take something out again."""


@dataclass(frozen=True, slots=True)
class EngineLoad:
    """What an engine says of itself; `waiting` for want of room, not for a grammar or a LoRA slot."""

    running: int
    waiting: int
    cache_use: float = 0.0
    """Of its KV cache, from 0 to 1."""
    preemptions: float = 0.0
    """Ever: requests that it had to stop for others' sake, to run them again from the beginning."""
    tokens: float = 0.0
    """Ever: of prompts that it has read and answers that it has made."""


class EngineBound:
    """One engine's; `limit` is at least 1 and at most `most`."""

    def __init__(self, most: int, first: int | None = None) -> None:
        """`first`: to begin with, such as the engine's own number of seats; without one, all."""
        self.most = max(1, most)
        self.limit = self.most if first is None else max(1, min(first + next_up(first), most))
        self._ran: deque[int] = deque(maxlen=LOOKS)
        self._full = self._calm = 0
        self._was_full = self._easing = False
        self._step = 1
        self._answered = self._late = 0
        # What was before the first look says nothing of this bound.
        self._preemptions = math.inf

    def saw(self, load: EngineLoad, answered: int = 0, late: int = 0) -> int:
        """The bound after another look; since the last one so many were answered, and so many too late."""
        self._ran.append(load.running)
        self._runs(load.running)
        stopped, self._preemptions = load.preemptions > self._preemptions, load.preemptions
        late_share = self._late_share(answered, late)
        if late_share > LATE_SHARE:
            self._ease(min(max(self._ran), self.limit) * (1 - late_share * (1 - LEAST_LEFT)))
        elif stopped:
            self._ease(max(self._ran) * EASED)
        else:
            self._queues(load)
        return self.limit

    def _runs(self, running: int) -> None:
        """Whatever was thought of it, so many it does run; but what was eased takes its time to end."""
        if running <= self.limit:
            self._easing = False
        elif not self._easing:
            self.limit = min(self.most, running)

    def _late_share(self, answered: int, late: int) -> float:
        """Of what has ended; 0 until all that ran have, since before it is another bound that is seen."""
        self._answered += answered
        self._late += late
        ended = self._answered + self._late
        if ended < self.limit:
            return 0.0
        share, self._answered, self._late = self._late / ended, 0, 0
        return share

    def _queues(self, load: EngineLoad) -> None:
        ran = max(self._ran)
        # A few may stand ready, but behind a full cache it is not a seat that they wait for.
        if load.waiting > next_up(load.running) or (load.waiting and load.cache_use >= FULL_CACHE):
            self._calm = 0
            self._full += 1
            if self._full >= IN_A_ROW and ran:  # one that runs nothing yet has not said what it can
                self._lower(ran + next_up(ran))
            return
        self._full = 0
        if load.waiting:
            self._calm = 0
        elif not self._late and load.running >= NEARLY * self.limit:
            self._grow()

    def _ease(self, limit: float) -> None:
        """Below what it runs, until what is too many has ended."""
        self._lower(math.floor(limit))
        self._easing = True

    def _lower(self, limit: int) -> None:
        self._was_full, self._calm, self._step = True, 0, 1
        self.limit = max(1, min(self.limit, limit))

    def _grow(self) -> None:
        self._calm += 1
        if not self._was_full:
            self.limit = min(self.most, math.ceil(self.limit * FIRST_STEPS))
        elif self._calm >= CALM:
            self._calm = 0
            self.limit = min(self.most, self.limit + self._step * next_up(self.limit))
            self._step *= 2


def next_up(running: int) -> int:
    """How many may stand ready behind so many that run."""
    return max(1, math.ceil(running * NEXT_UP))
