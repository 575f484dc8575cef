"""One launch per state directory, by a lock that goes with its process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway.config.launch_lock import FILE, lock_now
from gateway.errors import ConfigError


@contextmanager
def sole_launch(state_dir: Path) -> Iterator[None]:
    """Hold the folder for this process; the kernel lets go of it however the process ends."""
    try:
        # One that is there keeps its rights: it may be a folder of the user's own.
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(state_dir / FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        mend = f"cannot be written: {error.strerror}; mend that, or name another folder"
        raise ConfigError("state_dir", str(state_dir), mend) from error
    try:
        if not lock_now(lock):
            mend = "another launch runs on this folder; stop it, or give another --state-dir"
            raise ConfigError("state_dir", str(state_dir), mend)
        yield
    finally:
        os.close(lock)  # the file stays: one of the same name, made anew, would be another lock
