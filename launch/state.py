"""One launch per state directory, by a lock that goes with its process."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway.errors import ConfigError

LOCK = "launch.lock"


@contextmanager
def sole_launch(state_dir: Path) -> Iterator[None]:
    """Hold the folder for this process; the kernel lets go of it however the process ends."""
    try:
        state_dir.mkdir(parents=True, exist_ok=True)
        lock = os.open(state_dir / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError("state_dir", str(state_dir), f"cannot be written: {error.strerror}") from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            mend = "another launch runs on this folder; stop it, or give another --state-dir"
            raise ConfigError("state_dir", str(state_dir), mend) from error
        yield
    finally:
        os.close(lock)


def is_running(state_dir: Path) -> bool:
    """Whether a launch holds the folder: an engine.json may outlive the one that wrote it."""
    try:
        lock = os.open(state_dir / LOCK, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False
