"""What Linux says of a process and all its children: time on the CPU and memory."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable

from gateway.config.process import stat_fields
from launch.machine.memory import KIB, PROC

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def cpu_s(pids: Iterable[int]) -> float:
    """utime + stime of the processes, in seconds, to the kernel's tick of 10 ms."""
    return sum(_cpu_s(pid) for pid in pids)


def _cpu_s(pid: int) -> float:
    try:
        utime, stime = stat_fields(pid)[11:13]
    except OSError:
        return 0.0
    return (int(utime) + int(stime)) / TICKS_PER_S


def _status_bytes(pid: int, key: str) -> int:
    with contextlib.suppress(OSError):
        for line in (PROC / str(pid) / "status").read_text().splitlines():
            if line.startswith(f"{key}:"):
                return int(line.split()[1]) * KIB
    return 0


def resident_bytes(pids: Iterable[int]) -> int:
    """Resident memory now, added up; pages that are shared count once for each."""
    return sum(_status_bytes(pid, "VmRSS") for pid in pids)


def peak_bytes(pids: Iterable[int]) -> int:
    """The most that was resident since `forget_peak`, added up."""
    return sum(_status_bytes(pid, "VmHWM") for pid in pids)


def forget_peak(pids: Iterable[int]) -> None:
    """Begin to watch the peak anew (`5` to clear_refs)."""
    for pid in pids:
        with contextlib.suppress(OSError):
            (PROC / str(pid) / "clear_refs").write_text("5")
