"""How much memory there is."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.errors import ConfigError
from launch.machine.memory import GIB
from launch.planning.device_memory import main_memory, named_card


@pytest.mark.parametrize(
    ("size", "gib"), [("48GB", 47.52), ("47.5GiB", 47.5), ("24 gb", 23.76), ("80", 79.2), ("49140MiB", 47.51)]
)
def test_card_sizes(size: str, gib: float) -> None:
    assert named_card(size).total_bytes / GIB == pytest.approx(gib, abs=0.01)


@pytest.mark.parametrize("size", ["", "0GB", "much", "48TB", "-4GB"])
def test_card_size_that_is_none(size: str) -> None:
    with pytest.raises(ConfigError, match="--gpu-memory"):
        named_card(size)


def test_container_limit_counts(tmp_path: Path) -> None:
    meminfo, limit = tmp_path / "meminfo", tmp_path / "max"
    meminfo.write_text("MemTotal: 4096 kB\nMemAvailable: 2048 kB\n")
    assert main_memory(meminfo, limit).total_bytes == 4096 * 1024
    limit.write_text("max\n")
    assert main_memory(meminfo, limit).total_bytes == 4096 * 1024
    limit.write_text(f"{1024 * 1024}\n")
    assert (main_memory(meminfo, limit).total_bytes, main_memory(meminfo, limit).free_bytes) == (
        1 << 20,
        1 << 20,
    )
