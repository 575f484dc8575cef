"""`<state_dir>/engine.json`: what the gateway and `status` know of the engine; one launch per folder."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from gateway.errors import ConfigError

FILE = "engine.json"
LOCK = "launch.lock"


@dataclass(frozen=True)
class EngineState:
    url: str
    pid: int  # the engine's; 0 before it runs
    started_at: float  # unix seconds
    state: Literal["starting", "ready", "failed", "stopped"]
    base: str
    adapters: dict[str, str] = field(default_factory=dict)  # task → adapter id
    stage: str = ""
    reason: str = ""
    load_s: float | None = None


def write_state(state_dir: Path, state: EngineState) -> None:
    """Replace engine.json; a reader sees the old or the new one, never half."""
    scratch = state_dir / f".{FILE}.{os.getpid()}"
    scratch.write_text(json.dumps(asdict(state), indent=1) + "\n", encoding="utf-8")
    scratch.replace(state_dir / FILE)


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
