"""Foreign bytes on their way in: exactly as many as were announced, digested, and told of now and then."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import httpx
import pytest

from launch.adapters.sources.transfer import (
    check_bound,
    check_digest,
    describe,
    need_room,
    network_errors,
    receive,
)
from launch.machine.files import Unfit


def test_bytes_are_written_digested_and_told_of(tmp_path: Path) -> None:
    digest, told = hashlib.sha256(), list[str]()
    receive([b"a" * 50, b"b" * 50], tmp_path / "x", 100, [digest], told.append)
    assert (tmp_path / "x").read_bytes() == b"a" * 50 + b"b" * 50
    assert digest.hexdigest() == hashlib.sha256(b"a" * 50 + b"b" * 50).hexdigest()
    assert told == ["downloading x: 50 %", "downloading x: 100 %"]


@pytest.mark.parametrize(("blocks", "said"), [([b"abc"], "more than the 2"), ([b"a"], "after 1 of 2")])
def test_more_or_fewer_than_announced_are_refused(tmp_path: Path, blocks: list[bytes], said: str) -> None:
    with pytest.raises(Unfit, match=said):
        receive(blocks, tmp_path / "x", 2, [], lambda stage: None)


def test_file_that_is_there_is_never_written_over(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"mine")
    with pytest.raises(FileExistsError):
        receive([b"ab"], tmp_path / "x", 2, [], lambda stage: None)
    assert (tmp_path / "x").read_bytes() == b"mine"


def test_bounds_room_and_digests(tmp_path: Path) -> None:
    check_bound("the archive", 5, 5)
    with pytest.raises(Unfit, match=r"the archive has 6 bytes, over adapters\.max_bytes 5"):
        check_bound("the archive", 6, 5)
    need_room(tmp_path, 0)
    with pytest.raises(Unfit, match="make room"):
        need_room(tmp_path, 2**60)
    check_digest("x", "aa", "aa", "the hub says")
    with pytest.raises(Unfit, match="x has the digest aa…, the hub says bb…"):
        check_digest("x", "aa", "bb", "the hub says")


def test_network_librarys_errors_are_known_and_told_without_an_address() -> None:
    assert httpx.HTTPError in network_errors()
    assert OSError in network_errors()
    assert (
        describe(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "s3://secret")) == "No space left on device"
    )
    assert describe(httpx.ConnectError("https://signed?key=secret")) == "ConnectError"
