"""The states of an engine and what leads from one to another. Pure: nothing here waits or starts anything.

stopped ──start──▶ starting ──proven──▶ ready ──drain──▶ draining ──emptied──▶ stopped
                      │  ▲                │                  └──slept──▶ sleeping ──start──▶ starting
                      │  └──start── failed ◀──died── (starting, ready, draining, sleeping)
                      └──stopped by hand from every state──▶ stopped
"""

from __future__ import annotations

from typing import Literal

from gateway.config.snapshot import EngineStateName

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


def after(state: EngineStateName, event: Event) -> EngineStateName:
    """The next state. Raises ValueError for an event that cannot come in `state`."""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise ValueError(f"{event!r} cannot come while an engine is {state}") from None
