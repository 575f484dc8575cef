"""What this machine can run on. Standard library only: set-up asks before anything is installed."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path


def has_gpu(env: Mapping[str, str] | None = None) -> bool:
    """Whether nvidia-smi finds a card; `LORA_GATEWAY_DEVICE=cpu` or `=gpu` overrules it."""
    chosen = (os.environ if env is None else env).get("LORA_GATEWAY_DEVICE", "auto").lower()
    if chosen in {"cpu", "gpu"}:
        return chosen == "gpu"
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return listed.returncode == 0 and "GPU " in listed.stdout


def cards(env: Mapping[str, str] | None = None) -> list[str]:
    """The cards that a program started here may use, as CUDA_VISIBLE_DEVICES names them."""
    allowed = (os.environ if env is None else env).get("CUDA_VISIBLE_DEVICES")
    if allowed is not None:
        return [each.strip() for each in allowed.split(",") if each.strip()]
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    found = sum(line.startswith("GPU ") for line in listed.stdout.splitlines())
    return [str(index) for index in range(found)]


def cores() -> list[int]:
    """The processor's cores that this process may run on, by their numbers."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def has_slow_bfloat16(cpuinfo: str | None = None) -> bool:
    """Whether this processor multiplies bfloat16 in software: an x86 without AVX-512, AVX-NE-CONVERT and AMX.

    `cpuinfo` is the text of /proc/cpuinfo. Where it cannot be read, False.
    """
    if cpuinfo is None:
        try:
            cpuinfo = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return False
    flags = next((line.split() for line in cpuinfo.splitlines() if line.startswith("flags")), [])
    return bool(flags) and not {"avx512f", "avx_ne_convert", "amx_bf16"} & set(flags)
