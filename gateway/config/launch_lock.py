"""The lock of a state directory: its control plane holds it for as long as it lives."""

from __future__ import annotations

import os
from pathlib import Path

FILE = "launch.lock"
MOST_TRIES = 100
"""Of `lock_now`, against those that only look: a look takes microseconds."""


def is_running(state_dir: Path) -> bool:
    """Whether a control plane runs on the folder: what it wrote there may outlive it."""
    try:
        lock = os.open(state_dir / FILE, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        # Shared with others that look at this moment, which would find each other otherwise.
        return not _locked(lock, exclusive=False)
    finally:
        os.close(lock)


def lock_now(lock: int) -> bool:
    """Whether the lock of an open file could be had at once. Who only looks (`is_running`) hinders nobody."""
    for _ in range(MOST_TRIES):
        if _locked(lock, exclusive=True):
            return True
        if not _locked(lock, exclusive=False):
            return False  # somebody has it to himself
    return False


def _locked(lock: int, *, exclusive: bool) -> bool:
    import fcntl  # here, so that a gateway can be used from where there is none of it

    try:
        # Over NFS it is a lock on the file's bytes, and an exclusive one wants them open for writing.
        fcntl.flock(lock, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
