"""What a lock under requirements/ pins. Standard library only."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

REQUIREMENT = re.compile(r"^(?P<name>[A-Za-z0-9][\w.-]*)(?:\[[\w,-]+\])?==(?P<version>[^\s;]+)")
HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


@dataclass(frozen=True, order=True)
class Pinned:
    """One package; `digests` are those of all its files, of which pip takes the one that fits."""

    name: str
    version: str
    digests: tuple[str, ...]


def shares(lock: str, count: int) -> list[str]:
    """A lock's requirements, each with its continuation lines, dealt out to so many files of their own."""
    wanted = re.findall(r"^[^#\s].*(?:\n[ \t]+.*)*\n?", lock, re.MULTILINE)
    dealt = [wanted[number::count] for number in range(count)]
    return ["".join(each) for each in dealt if each]


def read_lock(file: Path) -> list[Pinned]:
    """Raises ValueError for a line that pins nothing: pip would take whatever is newest."""
    return [_pinned(line, file) for line in _joined(file.read_text(encoding="utf-8"))]


def _joined(text: str) -> Iterator[str]:
    """Each requirement with its continuation lines, without comments."""
    lines = (line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#"))
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        yield line.strip()


def _pinned(line: str, file: Path) -> Pinned:
    found = REQUIREMENT.match(line)
    if found is None:
        raise ValueError(f"{file.name}: {line[:80]}: pins no version")
    return Pinned(found["name"].lower(), found["version"], tuple(HASH.findall(line)))
