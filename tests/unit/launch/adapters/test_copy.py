"""An adapter's copy: from one reading, whole or not at all."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import BinaryIO

import pytest

from gateway.errors import ConfigError
from launch.adapters import copy as adapter_copy
from launch.adapters.copy import AdapterCopy
from launch.adapters.store import AdapterStore
from tests.support.adapter_folders import BASE, GOOD, adapter, weights
from tests.unit.launch.adapters.test_store import WEIGHTS


def test_source_that_grows_or_goes_while_it_is_read_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, store = adapter(tmp_path / "one"), AdapterStore(tmp_path / "kept")
    begin = AdapterCopy.begin

    def grow(copy: AdapterCopy, settings: bytes, size_bytes: int) -> None:
        begin(copy, settings, size_bytes)
        (source / WEIGHTS).write_bytes(weights(GOOD) + b"x")

    monkeypatch.setattr(AdapterCopy, "begin", grow)
    with pytest.raises(ConfigError, match="became longer while it was read"):
        store.take("naming", source, BASE)
    assert list((tmp_path / "kept").iterdir()) == []


def test_disk_that_fills_while_the_copy_is_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: BinaryIO) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(adapter_copy, "_sync", full)
    with pytest.raises(
        ConfigError, match="cannot be copied: No space left on device; look at rights and disk"
    ):
        AdapterStore(tmp_path / "kept").take("naming", adapter(tmp_path / "one"), BASE)
    assert list((tmp_path / "kept").iterdir()) == []


def test_a_copy_is_its_owners_alone(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    AdapterStore(kept).take("naming", adapter(tmp_path / "one"), BASE)
    (copied,) = kept.iterdir()
    assert [one.stat().st_mode & 0o777 for one in (kept, copied)] == [0o700, 0o700]
    assert {one.stat().st_mode & 0o777 for one in copied.iterdir()} == {0o600}
