"""What the clients saw of adapters that were replaced under them: before, meanwhile and after. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from launch.bench.faults.churn_load import WELL, ChurnRequest
from launch.simulation.figures import percentile

PHASES = ("before", "meanwhile", "after")


@dataclass(frozen=True)
class Replacement:
    """Of a task's adapter by another; times are of `time.monotonic`."""

    task: str
    adapter_id: str
    """The new one's."""
    began_s: float
    ended_s: float
    """When the command was answered: loaded and proven on every replica, and routed to."""


def phase_of(one: ChurnRequest, replacements: Sequence[Replacement]) -> str:
    """`before` the first; `meanwhile` with any; `after` one, and with none."""
    if any(one.began_s < each.ended_s and one.ended_s > each.began_s for each in replacements):
        return "meanwhile"
    return "before" if one.ended_s <= replacements[0].began_s else "after"


def is_stale(one: ChurnRequest, replacements: Sequence[Replacement]) -> bool:
    """Answered by another adapter than the task had when it was asked, and had until the end."""
    own = [each for each in replacements if each.task == one.task]
    last = next((each for each in reversed(own) if each.ended_s <= one.began_s), None)
    if last is None or not one.adapter_id:
        return False
    if any(last.ended_s < each.ended_s and each.began_s < one.ended_s for each in own):
        return False  # the next one came meanwhile
    return one.adapter_id != last.adapter_id


def figures_of(seen: Sequence[ChurnRequest], replacements: Sequence[Replacement]) -> dict[str, float]:
    """Of one run. `wrong`: not what the adapter answers alone, another's, or a stale adapter's."""
    answered = [one for one in seen if one.status == "200"]
    found = {
        "requests": float(len(seen)),
        "wrong": float(sum(one.verdict not in WELL or is_stale(one, replacements) for one in answered)),
        "refused": float(sum(one.status[0] in "45" for one in seen)),
        "broken": float(sum(one.status.startswith("broken") for one in seen)),
        "untold": float(sum(one.verdict == "untold" for one in answered)),
        "replaced_s": percentile([one.ended_s - one.began_s for one in replacements], 0.5),
        "slowest_s": max(one.ended_s - one.began_s for one in replacements),
    }
    waits: Mapping[str, list[float]] = {phase: [] for phase in PHASES}
    for one in answered:
        waits[phase_of(one, replacements)].append((one.ended_s - one.began_s) * 1000)
    for phase, took_ms in waits.items():
        found[f"{phase}_requests"] = float(len(took_ms))
        if took_ms:
            found |= {
                f"{phase}_{name}_ms": percentile(took_ms, share)
                for name, share in (("p50", 0.5), ("p99", 0.99))
            }
    return found
