"""What a soak has found that must not be, and how its result is said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tests.soak.watch import Held, Sample

Document = dict[str, Any]

MOST_GROWTH = 0.05
"""Of resident memory, from the second quarter of the time to the last one."""
MOST_DESCRIPTORS = 2
"""More than before: a connection or two to the engine are kept."""
SHOWN = ("requests", "skipped", "verdicts", "by_key", "before", "after", "reservations_left", "memory_mib")


def findings(document: Mapping[str, Any], before: Held, after: Held) -> list[str]:
    """Wrong answers, and whatever is left of requests that are over."""
    found = [f"wrong: {one}" for one in document["wrong"]]
    for name in ("in_flight", "waiting", "open_connections", "tasks"):
        left = getattr(after, name) - getattr(before, name)
        if left > 0:
            found.append(f"{left} {name} left")
    left = after.descriptors - before.descriptors
    if left > MOST_DESCRIPTORS:
        found.append(f"{left} descriptors left: {before.open} before, {after.open} after")
    if document["reservations_left"]:
        found.append(f"{document['reservations_left']} reservations left")
    held = document["memory_mib"]
    if held and held["last_quarter"] > held["second_quarter"] * (1 + MOST_GROWTH):
        found.append(f"memory grew: {held}")
    return found


def memory(samples: Sequence[Sample]) -> dict[str, float]:
    """Medians of the second quarter of the time and of the last one."""
    quarter = len(samples) // 4
    if not quarter:
        return {}
    parts = {"second_quarter": samples[quarter : 2 * quarter], "last_quarter": samples[-quarter:]}
    ordered = {name: sorted(one.resident_mib for one in part) for name, part in parts.items()}
    return {name: values[len(values) // 2] for name, values in ordered.items()}


def said(document: Mapping[str, Any]) -> list[str]:
    """Lines for a terminal."""
    lines = [f"{name}: {document[name]}" for name in SHOWN]
    return [*lines, *(f"FAULT {one}" for one in document["faults"][:20])]


def foot(document: Mapping[str, Any]) -> str:
    """One line for a picture."""
    counts = ", ".join(f"{count:,} {name}" for name, count in sorted(document["verdicts"].items()))
    return f"{document['requests']:,} requests: {counts}"
