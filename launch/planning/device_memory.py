"""How much memory there is to plan with: the card's, one that a person names, or the machine's own."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from gateway.errors import ConfigError
from launch.base.memory import DRIVER_SHARE
from launch.machine.hardware import control_groups, has_gpu, has_slow_bfloat16, nvidia_smi
from launch.machine.memory import GIB, KIB, MIB

SIZE = re.compile(r"^(\d+(?:\.\d+)?)\s*(gib|gb|g|mib|mb)?$", re.IGNORECASE)
MEMINFO = Path("/proc/meminfo")
OF_A_GROUP = (
    ("memory.max", "memory.current", ("active_file", "inactive_file")),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", ("total_active_file", "total_inactive_file")),
)
"""Version 2 of control groups, and 1: the limit, what is used of it, and what of that is files in the page
cache, by the names of memory.stat."""


@dataclass(frozen=True)
class DeviceMemory:
    """One card, or main memory; each of several cards has as much."""

    gpu: bool
    name: str
    total_bytes: int  # as the engine sees it
    free_bytes: int | None  # now; None where it is not this machine's
    known_from: str
    slow_bfloat16: bool = False


def named_card(size: str) -> DeviceMemory:
    """`48GB` is a card as it is sold: GiB, less what its driver keeps. `47.5GiB` is taken as it is.

    Raises ConfigError.
    """
    match = SIZE.match(size.strip())
    if match is None or float(match[1]) <= 0:
        raise ConfigError(
            "--gpu-memory", size, "write a card's size, such as 48GB, or exactly, such as 44.4GiB"
        )
    unit = (match[2] or "GB").lower()
    whole = float(match[1]) * (MIB if unit.startswith("m") else GIB)
    if unit == "gib":
        return DeviceMemory(True, f"{size} card", int(whole), None, "--gpu-memory, taken exactly")
    known = "--gpu-memory, less 1 % that the driver keeps (allowance)"
    return DeviceMemory(True, f"{size} card", int(whole * (1 - DRIVER_SHARE)), None, known)


def detect() -> DeviceMemory:
    """The smallest card of this machine, or its main memory where it has none. Raises ConfigError."""
    if not has_gpu():
        return replace(main_memory(), slow_bfloat16=has_slow_bfloat16())
    cards = _cards()
    if not cards:
        raise ConfigError("--gpu-memory", "", "nvidia-smi tells no card's memory; say it, such as 48GB")
    # Several cards share an engine in equal parts, so that the smallest bounds all of them.
    name, total, free = min(cards, key=lambda card: card[1])
    known = "nvidia-smi, less 1 % that the driver keeps (allowance)"
    return DeviceMemory(True, name, int(total * (1 - DRIVER_SHARE)), free, known)


def main_memory(meminfo: Path = MEMINFO, groups: Iterable[Path] | None = None) -> DeviceMemory:
    """The machine's, or its container's where that has less; `groups` are folders of control groups."""
    found = _sizes(meminfo)
    # MemAvailable and not MemFree: what files have in the page cache is given up when it is asked for.
    total, free = found.get("MemTotal", 0), found.get("MemAvailable", 0)
    known = "MemTotal of the kernel"
    for group in control_groups("memory") if groups is None else groups:
        for name, used, files in OF_A_GROUP:
            limit = _number(group / name)
            if limit is None or limit >= found.get("MemTotal", 0):  # version 1 says no limit by a huge one
                continue
            stat = _sizes(group / "memory.stat")
            cached = sum(stat.get(one, 0) for one in files)  # given up as well
            free = max(0, min(free, limit - (_number(group / used) or 0) + cached))
            if limit < total:
                total, known = limit, "the container's limit"
    return DeviceMemory(False, "main memory", total, min(free, total), known)


def _sizes(file: Path) -> Mapping[str, int]:
    """Of lines `key: 4 kB` or `key 4096`, in bytes."""
    found: dict[str, int] = {}
    for line in file.read_text(encoding="ascii").splitlines():
        key, *number = line.split() or [""]
        if number and number[0].isdigit():
            found[key.rstrip(":")] = int(number[0]) * (KIB if number[1:] else 1)
    return found


def _number(file: Path) -> int | None:
    try:
        text = file.read_text(encoding="ascii").strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None  # `max` is no limit


def _cards() -> list[tuple[str, int, int]]:
    listed = nvidia_smi("--query-gpu=name,memory.total,memory.free", "--format=csv,noheader,nounits")
    cards: list[tuple[str, int, int]] = []
    for line in listed.splitlines():
        fields = [field.strip() for field in line.rsplit(",", 2)]  # a card's name may hold one
        if len(fields) == 3 and fields[1].isdigit() and fields[2].isdigit():
            cards.append((fields[0], int(fields[1]) * MIB, int(fields[2]) * MIB))
    return cards
