"""Locks: whatever is installed is pinned, by a version and by the digests of its files."""

from __future__ import annotations

from pathlib import Path

import pytest

from launch.setup.lock_file import Pinned, read_lock, shares

REQUIREMENTS = Path(__file__).parents[4] / "requirements"


@pytest.mark.parametrize("lock", sorted(REQUIREMENTS.glob("*.txt")), ids=lambda lock: lock.name)
def test_every_package_of_every_lock_has_a_digest(lock: Path) -> None:
    pinned = read_lock(lock)
    assert pinned
    assert [one.name for one in pinned if not one.digests] == []


def test_a_requirement_goes_on_over_lines(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    lines = (f"# note\nA-b[x]==1.0 ; python_version < '4' \\\n    --hash=sha256:{'0' * 64} \\\n", "c==2\n")
    file.write_text(f"{lines[0]}    --hash=sha256:{'1' * 64}\n{lines[1]}")
    assert read_lock(file) == [Pinned("a-b", "1.0", ("0" * 64, "1" * 64)), Pinned("c", "2", ())]


@pytest.mark.parametrize("line", ["a", "a>=1", "-r other.txt", "--index-url x"])
def test_what_pins_nothing_is_no_lock(tmp_path: Path, line: str) -> None:
    (tmp_path / "a.txt").write_text(line)
    with pytest.raises(ValueError, match="pins no version"):
        read_lock(tmp_path / "a.txt")


@pytest.mark.parametrize("lock", ["cpu.txt", "clients.txt", "torch-cpu.txt"])
@pytest.mark.parametrize("count", [1, 4])
def test_shares_of_a_lock_hold_each_package_once_with_its_digests(
    tmp_path: Path, lock: str, count: int
) -> None:
    file = REQUIREMENTS / lock
    dealt = shares(file.read_text(), count)
    found = []
    for number, share in enumerate(dealt):
        (tmp_path / str(number)).write_text(share)
        found.append(read_lock(tmp_path / str(number)))
    whole = read_lock(file)
    assert sorted(one for share in found for one in share) == sorted(whole)
    assert max(map(len, found)) - min(map(len, found)) <= 1
    assert len(dealt) == min(count, len(whole))
