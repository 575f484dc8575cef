"""Records of what differed, on disk."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec

from gateway.relay.shadow.journal import Journal, ShadowRecord


def record(number: int) -> ShadowRecord:
    return ShadowRecord(float(number), "naming", "naming@1", "naming@2", "same", f"r{number}")


def test_records_take_two_files_of_a_bounded_size(tmp_path: Path) -> None:
    journal = Journal(tmp_path, max_file_bytes=1000)
    for number in range(100):
        journal.write("naming", [record(number)])
    folder = tmp_path / "shadow"
    files = sorted(path.name for path in folder.iterdir() if path.name != ".lock")
    assert files == ["naming.jsonl", "naming.jsonl.1"]
    assert folder.stat().st_mode & 0o077 == 0
    lines = []
    for name in reversed(files):
        assert (folder / name).stat().st_size <= 1000
        assert (folder / name).stat().st_mode & 0o077 == 0
        lines += (folder / name).read_bytes().splitlines()
    assert b'request"' not in lines[-1]
    assert msgspec.json.decode(lines[-1], type=ShadowRecord) == record(99)
    numbers = [int(json.loads(line)["at"]) for line in lines]
    assert numbers == list(range(numbers[0], 100))
