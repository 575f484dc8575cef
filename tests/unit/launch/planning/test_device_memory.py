"""How much memory there is."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.errors import ConfigError
from launch.machine.memory import GIB, KIB
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


@pytest.fixture
def meminfo(tmp_path: Path) -> Path:
    file = tmp_path / "meminfo"
    file.write_text("MemTotal: 4096 kB\nMemAvailable: 2048 kB\nHugePages_Total: 0\n")
    return file


def group(folder: Path, **files: int | str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(f"{text}\n")
    return folder


def seen(meminfo: Path, *groups: Path) -> tuple[int, int | None]:
    """Total and free, in KiB."""
    found = main_memory(meminfo, groups)
    return found.total_bytes // KIB, None if found.free_bytes is None else found.free_bytes // KIB


def test_container_limit_counts_without_what_the_container_uses_already(
    tmp_path: Path, meminfo: Path
) -> None:
    stat = f"anon {300 * KIB}\ninactive_file {200 * KIB}\nactive_file {100 * KIB}\nfile {900 * KIB}"
    used: dict[str, int | str] = {"memory__current": 600 * KIB, "memory__stat": stat}
    assert seen(meminfo, tmp_path / "none") == (4096, 2048)
    assert seen(meminfo, group(tmp_path / "free", memory__max="max", **used)) == (4096, 2048)
    held = group(tmp_path / "held", memory__max=1024 * KIB, **used)
    assert seen(meminfo, held) == (1024, 724)
    # What is above it may have less room, though its limit is higher.
    above = group(tmp_path, memory__max=2000 * KIB, memory__current=1900 * KIB, memory__stat="active_file 0")
    assert seen(meminfo, held, above) == (1024, 100)


def test_first_version_of_control_groups_counts_as_well(tmp_path: Path, meminfo: Path) -> None:
    stat = f"inactive_file 1\ntotal_inactive_file {200 * KIB}\ntotal_active_file {100 * KIB}"
    used: dict[str, int | str] = {"memory__usage_in_bytes": 600 * KIB, "memory__stat": stat}
    made = group(tmp_path, memory__limit_in_bytes=9223372036854771712, **used)
    assert seen(meminfo, made) == (4096, 2048)
    group(tmp_path, memory__limit_in_bytes=1024 * KIB)
    assert seen(meminfo, made) == (1024, 724)
