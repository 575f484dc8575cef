"""What the engine is doing and why it died, read from its log. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from gateway.config.process import ended_by

# In the order in which vLLM passes them; a later one never gives way to an earlier one.
STAGES = (
    ("importing", "importing the engine"),
    ("Resolved architecture", "reading the configuration"),
    ("Initializing a V1 LLM engine", "starting workers"),
    ("Starting to load model", "loading weights"),
    ("Loading weights took", "preparing adapters"),
    ("KV cache size", "warming up"),
    ("init engine (profile", "loading adapters"),
    ("Starting vLLM server", "starting the server"),
)
STEP = 0.05
LEAST = 0.10
ERROR = re.compile(r"(?:\b|\.)((?:[A-Z]\w*Error|OutOfMemoryError|Killed)\b: .+)$")
USAGE = re.compile(r"\berror: (argument .+|unrecognized arguments: .+)$")
GENERIC = ("Engine core initialization failed", "WorkerProc initialization failed", "EngineCore encountered")
HARMLESS = re.compile(r"^(?:\(\w+(?: pid=\d+)?\) )?(?:INFO|WARNING|DEBUG) ")
LOG_PREFIX = re.compile(r"^(?:\(\w+(?: pid=\d+)?\) )?(?:(?:ERROR|INFO|WARNING) [\d: -]+\[[^\]]*\] ?)?")
FREE_MEMORY = (
    # vllm/v1/worker/utils.py, request_memory
    re.compile(r"Free memory on device \S* ?\((?P<free>[\d.]+)/(?P<total>[\d.]+) GiB\).*less than"),
    re.compile(r"Free memory \((?P<free>[\d.]+) Gi?B\) < desired \((?P<desired>[\d.]+) Gi?B\)"),
)
OF_A_SETTING = re.compile(r"\d+ validation errors? for \w+$")
"""pydantic's heading; what is wrong stands below it."""
TOO_LONG = re.compile(r"greater than the derived max_model_len \(\w+=(\d+)")
NO_CACHE = re.compile(r"No available memory for the cache blocks|KV cache is needed, which is larger")


def stage_of(line: str, current: str) -> str:
    """The stage after this line of the log."""
    names = [name for _, name in STAGES]
    now = names.index(current) if current in names else -1
    for place, (mark, name) in enumerate(STAGES):
        if place > now and mark in line:
            return name
    return current


def reason_of(lines: Sequence[str], exit_code: int | None) -> str:
    """Why the engine died: its first telling error, else its last line, else the signal."""
    errors = [line for line in lines if not HARMLESS.search(line)]
    found = [
        _below(errors[place + 1 :]) or match[1] if OF_A_SETTING.search(match[1]) else match[1]
        for place, line in enumerate(errors)
        if (match := ERROR.search(line) or USAGE.search(line))
    ]
    telling = [text for text in found if not any(text.find(mark) >= 0 for mark in GENERIC)]
    if telling or found:
        # A traceback names handled errors and consequences too: memory first, else the last that tells.
        memory = [
            text for text in telling if any(p.search(text) for p in FREE_MEMORY) or "memory" in text.lower()
        ]
        return (memory or telling[-1:] or found)[0].strip()
    if exit_code is not None and exit_code < 0:
        return f"killed by {ended_by(exit_code)}"
    spoken = [text for line in lines if (text := LOG_PREFIX.sub("", line).strip())]
    last = spoken[-1] if spoken else "it said nothing"
    return f"exit code {exit_code}: {last}"


def _below(lines: Sequence[str]) -> str:
    """The first sentence of pydantic's first error, after the setting's name where it is one setting's."""
    first, then = [LOG_PREFIX.sub("", line) for line in [*lines, "", ""][:2]]
    text = first.strip() if first.startswith(" ") else f"{first}: {then.strip()}"
    return text.partition(" [type=")[0].removeprefix("Value error, ").partition(". ")[0].strip(": ")


def advice_for(reason: str, utilization: float) -> str:
    """What to change, where the reason tells; `utilization` is base.gpu_memory_utilization now."""
    for pattern in FREE_MEMORY:
        match = pattern.search(reason)
        if match is None:
            continue
        numbers = match.groupdict()
        free = float(numbers["free"])
        total = float(numbers["total"]) if "total" in numbers else float(numbers["desired"]) / utilization
        return _lower(free / total if total else 0.0)
    if match := TOO_LONG.search(reason):
        return f"set base.max_model_len to {match[1]} or less"
    if NO_CACHE.search(reason):
        return "lower base.max_model_len, or raise base.gpu_memory_utilization (on a CPU: base.kv_cache_gib)"
    if "out of memory" in reason.lower():
        lower = math.floor((utilization - STEP) / STEP + 1e-9) * STEP
        return f"set base.gpu_memory_utilization to {max(lower, LEAST):.2f}, or lower base.max_num_seqs"
    return ""


def _lower(share_free: float) -> str:
    fitting = math.floor(share_free / STEP + 1e-9) * STEP  # 0.35 / 0.05 is a little under 7
    if fitting < LEAST:
        return "the card is nearly full: free it (nvidia-smi shows by whom it is used), or take another one"
    return f"set base.gpu_memory_utilization to {fitting:.2f} or less, or free the card (nvidia-smi)"
