"""Whether a control plane runs on a folder: by its lock, not by what it left there."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from gateway.config.launch_lock import FILE, is_running, lock_now


def test_lock_tells_whether_somebody_is_there(tmp_path: Path) -> None:
    assert not is_running(tmp_path)
    (tmp_path / FILE).touch()
    assert not is_running(tmp_path)  # a file alone may outlive its writer
    lock = os.open(tmp_path / FILE, os.O_RDWR)
    assert lock_now(lock)
    assert is_running(tmp_path)
    os.close(lock)
    assert not is_running(tmp_path)


def test_who_looks_is_taken_for_nobody_that_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / FILE).touch()
    look, start = (os.open(tmp_path / FILE, os.O_RDWR) for _ in range(2))
    flock = fcntl.flock
    flock(look, fcntl.LOCK_SH)  # as one `is_running` has it for a moment, whatever another asks
    assert not is_running(tmp_path)

    def look_ends(lock: int, how: int) -> None:
        flock(lock, how)
        if lock == start and how & fcntl.LOCK_SH:
            flock(look, fcntl.LOCK_UN)

    monkeypatch.setattr(fcntl, "flock", look_ends)
    assert lock_now(start)
    assert is_running(tmp_path)
    os.close(start)
    os.close(look)


def test_a_look_that_never_ends_keeps_a_start_out_and_holds_up_nobody(tmp_path: Path) -> None:
    look, start = (os.open(tmp_path / FILE, os.O_RDWR | os.O_CREAT) for _ in range(2))
    fcntl.flock(look, fcntl.LOCK_SH)
    assert not lock_now(start)
    os.close(look)
    assert lock_now(start)
    os.close(start)
