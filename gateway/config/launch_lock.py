"""The lock of a state directory: its control plane holds it for as long as it lives."""

from __future__ import annotations

import os
from pathlib import Path

FILE = "launch.lock"


def is_running(state_dir: Path) -> bool:
    """Whether a control plane runs on the folder: what it wrote there may outlive it."""
    try:
        lock = os.open(state_dir / FILE, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return not lock_now(lock)
    finally:
        os.close(lock)


def lock_now(lock: int) -> bool:
    """Whether the lock of an open file could be had at once."""
    import fcntl  # here, so that a gateway can be used from where there is none of it

    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
