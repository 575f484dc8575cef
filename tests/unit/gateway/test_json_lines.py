"""Lines that several processes append: none is lost, none is cut, and files stay bounded."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from gateway.json_lines import append_lines, older_files


def append(file: Path, data: bytes, kept: int = 1) -> None:
    append_lines(file, data, most_bytes=10, kept=kept)


def test_a_full_file_is_put_aside_and_the_oldest_goes(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    for number in range(6):
        append(file, b"line%d\n" % number, kept=2)
    assert [one.read_bytes() for one in [*older_files(file, 2), file]] == [b"line3\n", b"line4\n", b"line5\n"]
    assert len(list(tmp_path.iterdir())) == 3


def test_what_is_larger_than_a_file_may_be_has_one_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    append(file, b"x" * 50 + b"\n")
    append(file, b"short\n")
    assert file.read_bytes() == b"short\n"
    assert (tmp_path / "a.jsonl.1").read_bytes() == b"x" * 50 + b"\n"


def test_only_its_owner_reads_it(tmp_path: Path) -> None:
    append(tmp_path / "a.jsonl", b"x\n")
    assert (tmp_path / "a.jsonl").stat().st_mode & 0o777 == 0o600


def test_of_a_line_that_the_disk_takes_half_of_nothing_stays(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    append(file, b"1\n")
    bounds = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5, bounds[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            append(file, b"half\n")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, bounds)
    append(file, b"whole\n")
    assert file.read_bytes() == b"1\nwhole\n"
