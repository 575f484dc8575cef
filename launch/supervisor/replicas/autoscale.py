"""How many engines there are to be, by what their clients wait for. Pure: who calls has the clock."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class ScaleRules:
    """Bounds, and what calls for more or fewer; times are seconds."""

    least: int
    most: int
    wait_s: float
    """A queue that takes longer than this to pass calls for more."""
    in_flight: int
    """Requests that one engine bears; fewer engines must bear all of them before one goes."""
    add_every_s: float
    remove_after_s: float
    """For so long nothing may have called for as many as there are."""


@dataclass(frozen=True)
class QueueLoad:
    """What all gateways have together at one moment, and what there is for it."""

    in_flight: int
    """At engines, and waiting for a place there."""
    wait_s: float
    """Until all that wait for a place have one, as quickly as the queue moves."""
    cold: int
    """Requests that wait for an engine to start."""
    coming: int
    """Engines that start, and have not failed at it."""


@dataclass(frozen=True)
class Scaling:
    """How many engines there are to be, since when, and why."""

    wanted: int
    changed_at: float
    needed_at: float
    """When as many were needed last."""
    why: str = ""


def next_scaling(now_is: Scaling, load: QueueLoad, rules: ScaleRules, now: float) -> Scaling:
    """What is to be from now on; the same where nothing changes.

    As many are added as the queue is too long by, one at least and at most as many as there are; none while
    others are on their way, since a queue says nothing of what they will bear. One is removed at a time, and
    the last only where there is no request at all.
    """
    wanted = now_is.wanted
    busy = bool(load.in_flight or load.cold)
    if not rules.least <= wanted <= rules.most:  # as where an earlier launch left more running
        return _changed(now_is, min(max(wanted, rules.least), rules.most), now, "the bounds")
    if busy and wanted == 0:
        return _changed(now_is, 1, now, "a request has come")
    more = _more(load, rules, wanted)
    if more > 0:
        kept = replace(now_is, needed_at=now)
        if load.coming or now - now_is.changed_at < rules.add_every_s or wanted >= rules.most:
            return kept
        why = f"requests wait {load.wait_s:.1f} s for a place"
        return _changed(kept, min(wanted + more, rules.most), now, why)
    if _needs(load, rules, wanted):
        return replace(now_is, needed_at=now)
    rested_s = now - max(now_is.needed_at, now_is.changed_at)
    if wanted <= rules.least or rested_s < rules.remove_after_s or load.coming:
        return now_is
    return _changed(now_is, wanted - 1, now, f"fewer were enough for {rested_s:.0f} s")


def _more(load: QueueLoad, rules: ScaleRules, wanted: int) -> int:
    if load.wait_s <= rules.wait_s or not load.in_flight:
        return 0
    return min(wanted, max(1, math.ceil(wanted * (load.wait_s / rules.wait_s - 1))))


def _needs(load: QueueLoad, rules: ScaleRules, wanted: int) -> bool:
    """Whether one engine fewer would be too few."""
    if wanted == 1:
        return bool(load.in_flight or load.cold)
    return load.in_flight > rules.in_flight * (wanted - 1)


def _changed(before: Scaling, wanted: int, now: float, why: str) -> Scaling:
    return replace(before, wanted=wanted, changed_at=now, needed_at=now, why=why)
