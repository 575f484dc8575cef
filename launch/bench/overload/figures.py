"""What the outcomes of one visit say: how much was answered in time and how soon, and the rest refused."""

from __future__ import annotations

from collections.abc import Sequence

from launch.bench.overload.load import LEFT, Outcome
from launch.simulation.figures import percentile

Figures = dict[str, float]


def figures_of(outcomes: Sequence[Outcome], names: Sequence[str], window_s: float) -> Figures:
    """Of all keys together, and of each under its name. Goodput: whole answers a second, in the window."""
    found: Figures = {}
    of_each = ((f"{name}_", [one for one in outcomes if one.name == name]) for name in names)
    for prefix, chosen in (("", outcomes), *of_each):
        good = [one for one in chosen if one.status == 200]
        refused = [one for one in chosen if one.status in (429, 503)]
        found |= {
            f"{prefix}offered_per_s": len(chosen) / window_s,
            f"{prefix}goodput_per_s": sum(one.due_s + one.ended_s <= window_s for one in good) / window_s,
            f"{prefix}answered": len(good) / len(chosen) if chosen else 1.0,
            f"{prefix}refused": float(len(refused)),
            f"{prefix}left": float(sum(one.status == LEFT for one in chosen)),
            f"{prefix}other": float(sum(one.status not in (LEFT, 200, 429, 503) for one in chosen)),
        }
        found |= _percentiles(f"{prefix}total", [one.ended_s for one in good])
        found |= _percentiles(f"{prefix}ttft", [one.first_s for one in good])
        found |= _percentiles(f"{prefix}refusal", [one.ended_s for one in refused])
    return found


def _percentiles(name: str, seconds: list[float]) -> Figures:
    """Milliseconds; nothing where there is nothing."""
    if not seconds:
        return {}
    return {
        f"{name}_{text}_ms": percentile(seconds, part) * 1000 for text, part in (("p50", 0.5), ("p99", 0.99))
    }
