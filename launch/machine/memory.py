"""What a process and all that it started hold in memory: from /proc, and on a card from nvidia-smi."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gateway.config.process import stat_fields
from launch.machine.hardware import has_gpu, nvidia_smi

PROC = Path("/proc")
KIB, MIB, GIB = 1024, 1024**2, 1024**3
OF_PROCESSES = ("--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits")
_FIELD = re.compile(r"^(Pss|Rss|Private_Clean|Private_Dirty):\s+(\d+) kB$", re.MULTILINE)


@dataclass(frozen=True)
class Memory:
    """Sums over the processes, in bytes. Pss counts a page shared by n processes as one n-th."""

    processes: int
    pss_bytes: int
    rss_bytes: int
    private_bytes: int


def tree(pid: int) -> list[int]:
    """The process and its descendants."""
    parents: dict[int, int] = {}
    for folder in PROC.iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):  # it has ended since
                parents[int(folder.name)] = int(stat_fields(int(folder.name))[1])
    found = [pid]
    for one in found:  # the list grows while it is read
        found += [child for child, parent in parents.items() if parent == one]
    return found


def tree_memory(pid: int) -> Memory:
    """Of `pid` and its descendants, whoever of them can be read; all zero where there is no /proc."""
    found = [read_rollup(text) for text in (_rollup(one) for one in tree(pid)) if text]
    totals = {name: sum(one.get(name, 0) for one in found) for name in ("Pss", "Rss")}
    private = sum(one.get("Private_Clean", 0) + one.get("Private_Dirty", 0) for one in found)
    return Memory(len(found), totals["Pss"], totals["Rss"], private)


def read_rollup(text: str) -> dict[str, int]:
    """The fields of smaps_rollup that are used here, in bytes."""
    return {name: int(kib) * KIB for name, kib in _FIELD.findall(text)}


def engine_memory(pid: int) -> tuple[int | None, Literal["", "gpu", "host"]]:
    """What an engine holds now, and where: `gpu` or `host`; None where that cannot be known."""
    try:
        if not has_gpu():
            return tree_memory(pid).pss_bytes or None, "host"
        return card_bytes(nvidia_smi(*OF_PROCESSES), tree(pid)), "gpu"
    except OSError:
        return None, ""


def card_bytes(listed: str, pids: Collection[int]) -> int | None:
    """What nvidia-smi lists for the processes; None where it lists none of them, as in some containers."""
    found = []
    for line in listed.splitlines():
        pid, _, mib = (field.strip() for field in line.partition(","))
        if pid.isdigit() and mib.isdigit() and int(pid) in pids:
            found.append(int(mib) * MIB)
    return sum(found) or None


def _rollup(pid: int) -> str:
    try:
        return (PROC / str(pid) / "smaps_rollup").read_text()
    except OSError:
        return ""
