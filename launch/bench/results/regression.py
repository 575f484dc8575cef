"""Is this result worse than an earlier one? Answered from figures that other load moves little."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from gateway.errors import ConfigError
from launch.bench.results.summary import Summary

TOLERANCE = 0.15
"""Chosen, not measured: far above the 1 % that the kernel's tick of 10 ms leaves open in a cell of 3 s."""
WATCHED = ("cpu_us",)

Document = Mapping[str, object]


def read_result(path: Path) -> Document:
    """A results file of this benchmark. Raises ConfigError."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError("bench", str(path), f"cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError("bench", str(path), f"is not JSON: {error}") from error
    if not isinstance(document, dict) or "ratios" not in document:
        raise ConfigError("bench", str(path), "is no result of `bench overhead` (it has no ratios)")
    return document


def watched(document: Document) -> dict[str, float]:
    """What is compared, less is better.

    Instructions per request where they were counted, else the CPU time per request and per chunk over nginx's
    of the same round.
    """
    found: dict[str, float] = {}
    summary = cast(Summary, document.get("summary", {}))
    for cell, subjects in summary.items():
        counted = subjects.get("gateway", {}).get("instructions")
        if counted is not None:
            found[f"{cell}: instructions a request"] = counted["median"]
    if found:
        return found
    ratios = cast(Summary, document["ratios"])
    for cell, sides in ratios.items():
        for key in WATCHED:
            ratio = sides.get("to_nginx", {}).get(key)
            if ratio is not None:
                found[f"{cell}: {key} over nginx's"] = ratio["median"]
    return found


def regressions(now: Document, baseline: Document, tolerance: float = TOLERANCE) -> list[str]:
    """One line for each figure that is worse by more than the tolerance, a share.

    Raises ConfigError where no figure is in both.
    """
    before, after = watched(baseline), watched(now)
    shared = [name for name in before if name in after]
    if not shared:
        raise ConfigError("--check", "", "the two results have no figure in common that can be compared")
    return [
        f"{name}: {after[name]:.3g}, was {before[name]:.3g} (+{after[name] / before[name] - 1:.0%})"
        for name in shared
        if after[name] > before[name] * (1 + tolerance)
    ]
