"""A header of any bytes is read or refused."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from safetensors import SafetensorError, safe_open

from launch.base.safetensors_header import BadHeader, read_header
from tests.support.adapter_folders import packed


def test_header_alone_is_read_or_refused(tmp_path: Path) -> None:
    chance = random.Random(3)
    file = tmp_path / "x.safetensors"
    for _ in range(300):
        file.write_bytes(packed(chance.randbytes(chance.randint(0, 64)), b""))
        with pytest.raises(BadHeader):
            read_header(file)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_header_is_utf8_as_the_engines_reader_wants_it(tmp_path: Path, encoding: str) -> None:
    entry = '{"x": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}'
    file = tmp_path / "x.safetensors"
    file.write_bytes(packed(entry.encode(), b"1"))
    assert list(read_header(file)) == ["x"]
    file.write_bytes(packed(entry.encode(encoding), b"1"))
    with pytest.raises(SafetensorError):
        safe_open(file, "np")
    with pytest.raises(BadHeader, match="not JSON"):
        read_header(file)
