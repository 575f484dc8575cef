"""A file is there whole, old or new; a write that fails leaves nothing behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.whole_files import write_whole


def test_it_is_replaced_and_its_owners_alone(tmp_path: Path) -> None:
    file = tmp_path / "known.json"
    write_whole(file, b"one")
    before = file.stat().st_ino
    with file.open("rb") as reader:
        write_whole(file, b"two")
        assert reader.read() == b"one"
    assert file.read_bytes() == b"two"
    assert file.stat().st_ino != before
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [file]


def test_a_write_that_fails_leaves_all_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError, match="taken"):
        write_whole(tmp_path / "taken", b"one")
    assert [file.name for file in tmp_path.iterdir()] == ["taken"]


def test_others_may_read_it_where_that_is_said(tmp_path: Path) -> None:
    write_whole(tmp_path / "config.yaml", b"one", mode=0o644)
    assert (tmp_path / "config.yaml").stat().st_mode & 0o777 == 0o644
