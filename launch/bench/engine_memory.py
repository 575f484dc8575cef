"""What a process and all that it started hold in memory, from /proc."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from launch.bench.proc import KIB, PROC, tree

_FIELD = re.compile(r"^(Pss|Rss|Private_Clean|Private_Dirty):\s+(\d+) kB$", re.MULTILINE)


@dataclass(frozen=True)
class Memory:
    """Sums over the processes, in bytes. Pss counts a page shared by n processes as one n-th."""

    processes: int
    pss_bytes: int
    rss_bytes: int
    private_bytes: int


def tree_memory(pid: int) -> Memory:
    """Of `pid` and its descendants, whoever of them can be read; all zero where there is no /proc."""
    found = [read_rollup(text) for text in (_rollup(one) for one in tree(pid)) if text]
    totals = {name: sum(one.get(name, 0) for one in found) for name in ("Pss", "Rss")}
    private = sum(one.get("Private_Clean", 0) + one.get("Private_Dirty", 0) for one in found)
    return Memory(len(found), totals["Pss"], totals["Rss"], private)


def read_rollup(text: str) -> dict[str, int]:
    """The fields of smaps_rollup that are used here, in bytes."""
    return {name: int(kib) * KIB for name, kib in _FIELD.findall(text)}


def slope(counts: Sequence[int], values: Sequence[float]) -> float:
    """The least-squares line's rise per count. Raises ValueError for fewer than two different counts."""
    mean_count, mean_value = sum(counts) / len(counts), sum(values) / len(values)
    square = sum((count - mean_count) ** 2 for count in counts)
    if not square:
        raise ValueError("a slope needs two different counts")
    pairs = zip(counts, values, strict=True)
    return sum((count - mean_count) * (value - mean_value) for count, value in pairs) / square


def _rollup(pid: int) -> str:
    try:
        return (PROC / str(pid) / "smaps_rollup").read_text()
    except OSError:
        return ""
