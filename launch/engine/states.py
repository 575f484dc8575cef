"""The states of an engine and what leads from one to another. Pure: nothing here waits or starts anything.

stopped ──start──▶ starting ──proven──▶ ready ──drain──▶ draining ──emptied──▶ stopped
                      │  ▲                │                  └──slept──▶ sleeping ──start──▶ starting
                      │  └──start── failed ◀──died── (starting, ready, draining, sleeping)
                      └──stopped by hand from every state──▶ stopped
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from gateway.config.snapshot import EngineStateName, FailureKind

Event = Literal["start", "proven", "drain", "emptied", "slept", "died", "halt"]

TRANSITIONS: dict[tuple[EngineStateName, Event], EngineStateName] = {
    ("stopped", "start"): "starting",
    ("failed", "start"): "starting",
    ("sleeping", "start"): "starting",
    ("starting", "proven"): "ready",
    ("ready", "drain"): "draining",
    ("draining", "emptied"): "stopped",
    ("draining", "slept"): "sleeping",
    ("draining", "start"): "ready",
    ("starting", "died"): "failed",
    ("ready", "died"): "failed",
    ("draining", "died"): "failed",
    ("sleeping", "died"): "failed",
    ("stopped", "died"): "failed",
    ("failed", "died"): "failed",
    **{
        (state, "halt"): "stopped"
        for state in ("stopped", "starting", "ready", "draining", "sleeping", "failed")
    },
}

MOST_BACKOFF_S = 60.0
SETTLED_S = 300.0
"""An engine that has served for so long begins its count of restarts anew."""


def after(state: EngineStateName, event: Event) -> EngineStateName:
    """The next state. Raises ValueError for an event that cannot come in `state`."""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise ValueError(f"{event!r} cannot come while an engine is {state}") from None


@dataclass(frozen=True)
class Restarts:
    """How often in a row an engine failed, and what follows; times are seconds."""

    most: int
    backoff_s: float
    in_a_row: int = 0
    settled_s: float = SETTLED_S

    def failed(self, served_s: float, kind: FailureKind) -> tuple[Restarts, float | None]:
        """The count after one more failure, and the delay until the next start; None where none follows.

        What the configuration causes comes again with each start, so it is not tried again.
        """
        count = 1 if served_s >= self.settled_s else self.in_a_row + 1
        counted = replace(self, in_a_row=count)
        if kind == "configuration" or count > self.most:
            return counted, None
        return counted, min(self.backoff_s * 2 ** (count - 1), MOST_BACKOFF_S)

    def anew(self) -> Restarts:
        return replace(self, in_a_row=0)
