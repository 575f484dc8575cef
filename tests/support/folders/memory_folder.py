"""Where tests that write much keep their folders: in memory, where there is room."""

from __future__ import annotations

import os
from pathlib import Path

MEMORY = Path("/dev/shm")
ROOM_BYTES = 2**30
"""Free at least; a run has some 200 MB there at once, since a test's folder goes with it unless it failed."""


def keep_folders_in_memory(memory: Path = MEMORY) -> None:
    """Have `tmp_path` in memory: on a disk, a gateway's files are synced for longer than the test computes.

    A folder that was asked for (`--basetemp`, PYTEST_DEBUG_TEMPROOT) stays.
    """
    try:
        found = os.statvfs(memory)
    except OSError:
        return
    if found.f_bavail * found.f_frsize >= ROOM_BYTES and os.access(memory, os.W_OK | os.X_OK):
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(memory))
