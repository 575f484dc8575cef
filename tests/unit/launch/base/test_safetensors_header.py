"""A header of any bytes is read or refused."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from launch.base.safetensors_header import BadHeader, read_header
from tests.support.adapter_folders import packed


def test_header_alone_is_read_or_refused(tmp_path: Path) -> None:
    chance = random.Random(3)
    file = tmp_path / "x.safetensors"
    for _ in range(300):
        file.write_bytes(packed(chance.randbytes(chance.randint(0, 64)), b""))
        with pytest.raises(BadHeader):
            read_header(file)
