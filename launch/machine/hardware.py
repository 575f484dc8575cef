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
