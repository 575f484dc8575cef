"""Ends a process group when whoever started it is gone: `group_guard.py GROUP GRACE_S TICKS`, stdin a pipe.

A program of its own, since nothing in a killed process can clean up, and the engine may be deaf to the
kernel's parent-death signal while it starts. Its stdin ends with the process that holds the other side,
however that ends; a byte there means that the group was ended in good order. It leaves its parent at once:
Ray kills the children of an actor that it ends, and of an engine only the first process would go with them.
Standard library only.
"""

from __future__ import annotations

import os
import signal
import sys
import time

POLL_S = 0.1


def end_group(group: int, grace_s: float, ticks: int) -> None:
    """SIGTERM, then SIGKILL after the grace. `ticks`: when its leader began, as the kernel counts."""
    # While a group has members, the kernel gives its number to no other process.
    if _began(group) not in (None, ticks):
        return
    try:
        os.killpg(group, signal.SIGTERM)
        end = time.monotonic() + grace_s
        while time.monotonic() < end:
            os.killpg(group, 0)
            time.sleep(POLL_S)
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return


def _began(pid: int) -> int | None:
    """The 22nd field of proc(5)'s stat; None where the process is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            return int(stat.read().rpartition(b")")[2].split()[19])
    except OSError:
        return None


if __name__ == "__main__":
    if os.fork():
        os._exit(0)
    if not os.read(0, 1):
        end_group(int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]))
