"""Why an engine ended: a crash, a hang, no memory, or a setting that it cannot run with."""

from __future__ import annotations

import re
from pathlib import Path

from gateway.config.snapshot import Blame, FailureKind

VMSTAT = Path("/proc/vmstat")
CGROUP_EVENTS = (Path("/sys/fs/cgroup/memory.events"), Path("/sys/fs/cgroup/memory/memory.oom_control"))
OOM_COUNT = re.compile(r"^oom_kill (\d+)$", re.M)
NO_MEMORY = re.compile(r"out of memory|OutOfMemory|Cannot allocate memory|std::bad_alloc|MemoryError", re.I)
# vLLM's own words for what a setting must mend; the next start would say the same.
SETTING = re.compile(
    r"Free memory on device|larger than the maximum number of tokens|No available memory for the cache|"
    r"error: (?:unrecognized|argument)|ValidationError|does not exist|is not supported",
    re.I,
)


def oom_kills(files: tuple[Path, ...] = (VMSTAT, *CGROUP_EVENTS)) -> int:
    """How many processes the kernel has killed for want of memory so far, as far as it says."""
    total = 0
    for file in files:
        try:
            found = OOM_COUNT.search(file.read_text())
        except OSError:
            continue
        total += int(found[1]) if found else 0
    return total


OUTSIDE = frozenset({-1, -2, -9, -15})  # SIGHUP, SIGINT, SIGKILL, SIGTERM
# vLLM's server ends with code 0 when its engine process is gone, as it does when it is asked to end.
ENGINE_GONE = re.compile(r"EngineDeadError|EngineCore encountered|died unexpectedly|output_handler failed")


def blame_of(kind: FailureKind, exit_code: int | None, log: str) -> Blame:
    """Who may have ended an engine that served; a request is one of them unless something else did it."""
    if kind == "out_of_memory":
        return "memory"
    if kind == "hang":
        return "request"
    if kind != "crash" or exit_code in OUTSIDE:
        return "nobody"
    return "request" if exit_code or ENGINE_GONE.search(log) else "nobody"


def kind_of(exit_code: int | None, log: str, oom_kills_since: int, was_ready: bool) -> FailureKind:
    """What ended an engine: `exit_code` is negative for a signal, `log` holds its last lines."""
    if NO_MEMORY.search(log) and not SETTING.search(log):
        return "out_of_memory"
    # Of one that served the kernel may have taken a worker, after which its server ends by itself.
    if oom_kills_since > 0 and (exit_code == -9 or was_ready):
        return "out_of_memory"
    if not was_ready:
        return "configuration" if SETTING.search(log) else "start"
    return "crash"
