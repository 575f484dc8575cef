"""When a process started. With it a pid names one process for good: the kernel gives a bare pid out again."""

from __future__ import annotations

from pathlib import Path


def started_ticks(pid: int) -> int | None:
    """In clock ticks since boot; None where the process is gone, or a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()  # the name before it may hold spaces and brackets
    return None if fields[0] in "ZX" else int(fields[19])
