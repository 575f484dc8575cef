"""Engines that outlived their supervisor are found by pid and start time, and ended before another starts.

The kernel's parent-death signal and the watcher (`launch.machine.group_guard`) end it as a rule; this is
for the case that both were lost too.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from pathlib import Path

from gateway.config.process import started_ticks

SUFFIX = ".pid"
POLL_S = 0.1


def remember(state_dir: Path, name: str, pid: int) -> None:
    """Note the engine of that name that runs, a leader of its own process group."""
    file = state_dir / f"{name}{SUFFIX}"
    file.touch(mode=0o600)
    file.write_text(json.dumps({"pid": pid, "ticks": started_ticks(pid)}))


def forget(state_dir: Path, name: str) -> None:
    with contextlib.suppress(OSError):
        (state_dir / f"{name}{SUFFIX}").unlink()


def end_orphans(state_dir: Path, grace_s: float) -> list[int]:
    """End what the last supervisor left running, all within the grace; their pids."""
    left = [pid for file in sorted(state_dir.glob(f"engine*{SUFFIX}")) if (pid := _noted(file)) is not None]
    end = time.monotonic() + grace_s
    for pid in left:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGTERM)
    for pid in left:
        _end_group(pid, end)
    return left


def _noted(file: Path) -> int | None:
    """A pid alone proves nothing, since the kernel gives it out again: the start time must be the same."""
    try:
        known = json.loads(file.read_text())
        pid, ticks = int(known["pid"]), known["ticks"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    with contextlib.suppress(OSError):
        file.unlink()
    return None if ticks is None or started_ticks(pid) != ticks else pid


def _end_group(pid: int, end: float) -> None:
    number = signal.SIGTERM
    with contextlib.suppress(ProcessLookupError, PermissionError):
        while True:
            os.killpg(pid, number)
            if started_ticks(pid) is None:
                os.killpg(pid, signal.SIGKILL)  # what the leader left behind
                return
            if time.monotonic() >= end:
                number = signal.SIGKILL
            time.sleep(POLL_S)
