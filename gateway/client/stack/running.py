"""Which stack runs on a state directory, and which process it ends with: `running.json` beside the locks."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gateway.config.process import started_ticks
from gateway.whole_files import write_whole

FILE = "running.json"


@dataclass(frozen=True)
class Running:
    """`pid` and `ticks` are its owner's: a pid alone proves nothing, since the kernel gives it out again."""

    pid: int
    ticks: int | None
    settings: Mapping[str, Any]
    url: str = ""
    """Empty while it starts, and once it is being ended."""

    @property
    def ends(self) -> bool:
        """Whether it is on its way out: its owner is gone, or ends it."""
        return not self.url or started_ticks(self.pid) != self.ticks


def read_running(folder: Path) -> Running | None:
    """None where nothing was noted."""
    try:
        document = json.loads((folder / FILE).read_text(encoding="utf-8"))
        return Running(
            int(document["pid"]), document["ticks"], dict(document["settings"]), str(document["url"])
        )
    except (OSError, ValueError, LookupError, TypeError):
        return None


def note_running(folder: Path, settings: Mapping[str, Any], url: str) -> None:
    """Written for this process, for its owner's eyes alone; who reads meanwhile sees it whole."""
    running = Running(os.getpid(), started_ticks(os.getpid()), settings, url)
    write_whole(folder / FILE, json.dumps(asdict(running)).encode())
