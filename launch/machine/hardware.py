"""What this machine can run on. Standard library only: set-up asks before anything is installed."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath


def has_gpu(env: Mapping[str, str] | None = None) -> bool:
    """Whether nvidia-smi finds a card; `LORA_GATEWAY_DEVICE=cpu` or `=gpu` overrules it."""
    chosen = (os.environ if env is None else env).get("LORA_GATEWAY_DEVICE", "auto").lower()
    if chosen in {"cpu", "gpu"}:
        return chosen == "gpu"
    return _listed() > 0


def cards(env: Mapping[str, str] | None = None) -> list[str]:
    """The cards that a program started here may use, as CUDA_VISIBLE_DEVICES names them."""
    allowed = (os.environ if env is None else env).get("CUDA_VISIBLE_DEVICES")
    if allowed is not None:
        return [each.strip() for each in allowed.split(",") if each.strip()]
    return [str(index) for index in range(_listed())]


def _listed() -> int:
    return sum(line.startswith("GPU ") for line in nvidia_smi("-L").splitlines())


def nvidia_smi(*asked: str) -> str:
    """What it prints; empty where there is no such program, or no answer from it."""
    try:
        done = subprocess.run(["nvidia-smi", *asked], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout


def cores(topology: Path = Path("/sys/devices/system/cpu")) -> list[int]:
    """The processor's cores that this process may run on, by the number of the last thread that each has."""
    if not hasattr(os, "sched_getaffinity"):
        return []
    by_core: dict[str, int] = {}
    for number in sorted(os.sched_getaffinity(0)):
        try:
            core = (topology / f"cpu{number}/topology/thread_siblings_list").read_text(encoding="ascii")
        except OSError:
            core = str(number)
        by_core[core] = number
    return sorted(by_core.values())


def thread_count() -> int:
    """Threads that compute at once here: one a core, and no more than `cpu_quota` has time for."""
    count = len(cores()) or os.cpu_count() or 1
    quota = cpu_quota()
    return count if quota is None else max(1, min(count, int(quota)))


def cpu_quota(own: str | None = None, mounted: Path = Path("/sys/fs/cgroup")) -> float | None:
    """Of how many cores this process may take the time, by the control groups that it is in; None: no bound.

    A container's `--cpus`, a pod's `limits.cpu` and systemd's `CPUQuota` are such bounds; the process sees
    all the machine's cores none the less. `own` and `mounted` are as `control_groups` has them.
    """
    groups = control_groups("cpu", own, mounted)
    return min((bound for group in groups for bound in _bound_of(group)), default=None)


def control_groups(
    controller: str, own: str | None = None, mounted: Path = Path("/sys/fs/cgroup")
) -> Iterator[Path]:
    """Folders that may bound this process: of version 2 of control groups and 1, each with those above it.

    `own` is the text of /proc/self/cgroup.
    """
    if own is None:
        try:
            own = Path("/proc/self/cgroup").read_text(encoding="utf-8")
        except OSError:
            return
    for line in own.splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        group = PurePosixPath(path.lstrip("/"))
        # In a container the path may be its host's: then only the group at the mount's root is to be seen.
        for one in (group, *group.parents):
            for mount in (controllers, controller) if controllers else ("",):
                yield mounted / mount / one


def _bound_of(group: Path) -> Iterator[float]:
    for names in (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")):
        with contextlib.suppress(OSError, ValueError):  # there is none, or it says "max"
            quota, period = " ".join((group / name).read_text(encoding="ascii") for name in names).split()
            if int(quota) > 0:
                yield int(quota) / int(period)


def has_slow_bfloat16(cpuinfo: str | None = None) -> bool:
    """Whether this processor multiplies bfloat16 in software: an x86 without AVX-512, AVX-NE-CONVERT and AMX.

    `cpuinfo` is the text of /proc/cpuinfo. Where it cannot be read, False.
    """
    if cpuinfo is None:
        try:
            cpuinfo = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return False
    # Why it matters: design 35.
    flags = next((line.split() for line in cpuinfo.splitlines() if line.startswith("flags")), [])
    return bool(flags) and not {"avx512f", "avx_ne_convert", "amx_bf16"} & set(flags)
