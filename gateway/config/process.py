"""A process as the system tells of it: when it started, and whether this one has a terminal."""

from __future__ import annotations

import os
from pathlib import Path


def started_ticks(pid: int) -> int | None:
    """In clock ticks since boot; None where the process is gone, or a zombie.

    With it a pid names one process for good: the kernel gives a bare pid out again.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()  # the name before it may hold spaces and brackets
    return None if fields[0] in "ZX" else int(fields[19])


def has_terminal() -> bool:
    """Whether this process belongs to a terminal that is still there; SIGHUP says that one was closed."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True
