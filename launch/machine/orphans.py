"""Engines that outlived their supervisor are found by pid and start time, and ended before another starts.

The kernel's parent-death signal and the watcher (`launch.machine.group_guard`) end it as a rule; this is
for the case that both were lost too. Where the leader was killed with them, what is left of its group is
ended: vLLM's engine core keeps the memory without its server.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from pathlib import Path

from gateway.config.process import started_ticks
from gateway.whole_files import write_whole
from launch.machine.child import kill_group, members

MARK = "LORA_GATEWAY_ENGINE"
"""In the environment of every engine of ours, and of all that it starts."""
MARKED = {MARK: "1", "SPT_NOENV": "1"}
"""What such an engine is started with. vLLM gives its core and workers titles by setproctitle, which writes
them over the environment that others see unless the second forbids that.
"""
SUFFIX = ".pid"
POLL_S = 0.1


def remember(state_dir: Path, name: str, pid: int) -> None:
    """Note the engine of that name that runs, a leader of its own process group."""
    noted = json.dumps({"pid": pid, "ticks": started_ticks(pid)})
    write_whole(state_dir / f"{name}{SUFFIX}", noted.encode())


def forget(state_dir: Path, name: str) -> None:
    with contextlib.suppress(OSError):
        (state_dir / f"{name}{SUFFIX}").unlink()


def end_orphans(state_dir: Path, grace_s: float) -> list[int]:
    """End what the last supervisor left running, all within the grace; their pids."""
    notes = sorted(state_dir.glob(f"engine*{SUFFIX}"))
    left = [pid for note in notes if (pid := _noted(note)) is not None]
    end = time.monotonic() + grace_s
    for pid in left:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGTERM)
    for pid in left:
        _end_group(pid, end)
    for note in notes:  # only now: whoever is killed meanwhile leaves them to the next start
        forget(state_dir, note.stem)
    return left


def _noted(file: Path) -> int | None:
    """A pid alone proves nothing, since the kernel gives it out again: the start time must be the same.

    While a group has members, the kernel gives its number to no other process.
    """
    try:
        known = json.loads(file.read_text())
        pid, ticks = int(known["pid"]), known["ticks"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    now = started_ticks(pid)
    ours = _left_behind(pid) if now is None else now == ticks
    return pid if ticks is not None and ours else None


def _left_behind(group: int) -> bool:
    """Whether a group without its leader is an engine's: its number may have been another's since."""
    return any(_is_marked(pid) for pid in members(group) or ())


def _is_marked(pid: int) -> bool:
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False
    return f"{MARK}=1".encode() in environment.split(b"\0")


def _end_group(pid: int, end: float) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        while started_ticks(pid) is not None and time.monotonic() < end:
            os.killpg(pid, signal.SIGTERM)
            time.sleep(POLL_S)
        kill_group(pid)
