"""One launch per folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config.launch_lock import is_running
from gateway.errors import ConfigError
from launch.supervisor.lock import sole_launch


def test_second_launch_on_a_folder_is_refused(tmp_path: Path) -> None:
    assert not is_running(tmp_path)
    with sole_launch(tmp_path):
        assert is_running(tmp_path)
        with pytest.raises(ConfigError, match="another launch runs"), sole_launch(tmp_path):
            pass
    assert not is_running(tmp_path)
