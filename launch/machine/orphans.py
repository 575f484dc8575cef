"""An engine that outlived its supervisor is found by pid and start time, and ended before another starts.

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

from gateway.config.process_start import started_ticks

FILE = "engine.pid"
POLL_S = 0.1


def remember(state_dir: Path, pid: int) -> None:
    """Note the engine that runs, a leader of its own process group."""
    file = state_dir / FILE
    file.touch(mode=0o600)
    file.write_text(json.dumps({"pid": pid, "ticks": started_ticks(pid)}))


def forget(state_dir: Path) -> None:
    with contextlib.suppress(OSError):
        (state_dir / FILE).unlink()


def end_orphan(state_dir: Path, grace_s: float) -> int | None:
    """End what the last supervisor left running; its pid, or None where there was nothing.

    A pid alone proves nothing, since the kernel gives it out again: the start time must be the same.
    """
    try:
        known = json.loads((state_dir / FILE).read_text())
        pid, ticks = int(known["pid"]), known["ticks"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    forget(state_dir)
    if ticks is None or started_ticks(pid) != ticks:
        return None
    end = time.monotonic() + grace_s
    number = signal.SIGTERM
    with contextlib.suppress(ProcessLookupError, PermissionError):
        while True:
            os.killpg(pid, number)
            if started_ticks(pid) is None:
                os.killpg(pid, signal.SIGKILL)  # what the leader left behind
                break
            if time.monotonic() >= end:
                number = signal.SIGKILL
            time.sleep(POLL_S)
    return pid
