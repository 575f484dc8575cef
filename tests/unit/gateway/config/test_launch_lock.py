"""Whether a control plane runs on a folder: by its lock, not by what it left there."""

from __future__ import annotations

import os
from pathlib import Path

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
