"""Secrets of a state directory: one for all who ask, and for its owner alone."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gateway.config.secrets.state_secrets import ENGINE_KEY, kept_secret, made_secret, needed_secret
from gateway.errors import ConfigError


def test_it_is_made_once_for_all(tmp_path: Path) -> None:
    state = tmp_path / "state"
    assert kept_secret(state, ENGINE_KEY) == ""
    with ThreadPoolExecutor(16) as threads:
        made = set(threads.map(lambda _: made_secret(state, ENGINE_KEY), range(64)))
    assert made == {kept_secret(state, ENGINE_KEY)}
    assert len(made.pop()) == 43
    assert [file.name for file in state.iterdir()] == [ENGINE_KEY]
    assert made_secret(tmp_path / "other", ENGINE_KEY) != kept_secret(state, ENGINE_KEY)


def test_it_is_its_owners_alone(tmp_path: Path) -> None:
    made_secret(tmp_path / "state", ENGINE_KEY)
    modes = [
        stat.S_IMODE(one.stat().st_mode) for one in (tmp_path / "state", tmp_path / "state" / ENGINE_KEY)
    ]
    assert modes == [0o700, 0o600]


def test_what_cannot_be_one_is_said(tmp_path: Path) -> None:
    (tmp_path / ENGINE_KEY).write_bytes(b"")
    with pytest.raises(OSError, match="cannot be read; remove it"):
        made_secret(tmp_path, ENGINE_KEY)
    with pytest.raises(ConfigError, match=r"state_dir: .*engine\.key: cannot be kept \(.*remove it"):
        needed_secret(tmp_path, ENGINE_KEY)
    (tmp_path / ENGINE_KEY).write_bytes(b"\xff")
    assert kept_secret(tmp_path, ENGINE_KEY) == ""
