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


def test_a_folder_that_cannot_be_written_is_named_with_the_mend(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(ConfigError, match=r"file: cannot be written: .*another"),
        sole_launch(tmp_path / "file"),
    ):
        pass


def test_a_folder_that_it_makes_is_its_owners_alone(tmp_path: Path) -> None:
    made, users = tmp_path / "state", tmp_path / "users"
    users.mkdir(mode=0o755)
    for folder, mode in ((made, 0o700), (users, 0o755)):
        with sole_launch(folder):
            assert folder.stat().st_mode & 0o777 == mode
