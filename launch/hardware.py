"""What this machine can run on. Standard library only: set-up asks before anything is installed."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping


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
