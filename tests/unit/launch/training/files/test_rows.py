"""The rows of data files: lines, arrays, gzip, and files that are something else."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from gateway.errors import ConfigError
from launch.training.files.rows import BrokenRow, read_rows

ROWS = [{"prompt": "p", "answer": "a"}, {"prompt": "q", "answer": "ä"}]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS).encode()


def kept(folder: Path, content: bytes, name: str = "own.jsonl") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("content", "unit"),
    [
        (LINES, "line"),
        (b"\xef\xbb\xbf" + LINES.replace(b"\n", b"\r\n"), "line"),
        (gzip.compress(LINES, mtime=0), "line"),
        (json.dumps(ROWS, indent=2).encode(), "row"),
        (gzip.compress(b"\n" + json.dumps(ROWS).encode(), mtime=0), "row"),
    ],
)
def test_lines_and_arrays_are_read_packed_or_not(tmp_path: Path, content: bytes, unit: str) -> None:
    found = read_rows(kept(tmp_path, content), "--data")
    assert ([*found.rows], found.unit) == ([(1, ROWS[0]), (2, ROWS[1])], unit)


def test_a_line_that_is_no_json_stands_there_as_its_error(tmp_path: Path) -> None:
    (first, array), (third, error) = read_rows(kept(tmp_path, b'["p"]\n\n{'), "--data").rows
    assert (first, array, third, type(error)) == (1, ["p"], 3, BrokenRow)


@pytest.mark.parametrize(
    ("content", "name", "reason"),
    [
        (b"PAR1....", "own.parquet", r"is a Parquet file; .*pandas\.read_parquet"),
        (b"PK\x03\x04..", "own.xlsx", "is a zip archive or a workbook"),
        (b"\x28\xb5\x2f\xfd..", "own.jsonl.zst", "is packed by zstd; unpack it first"),
        (b"prompt,answer\np,a\n", "own.csv", r"is a table of CSV; .*pandas\.read_csv"),
        (gzip.compress(LINES, mtime=0)[:-9], "own.jsonl.gz", "is packed by gzip and broken"),
        (b"\x1f\x8b\x08 not", "own.jsonl.gz", "is packed by gzip and broken"),
        (json.dumps(ROWS, indent=2).encode()[:-4], "own.json", "begins as a JSON array and is none: .*line"),
        ('{"prompt": "ä"}'.encode("utf-16"), "own.jsonl", "is not UTF-8 .*; save it as UTF-8"),
    ],
)
def test_a_file_of_another_form_is_named_with_its_mend(
    tmp_path: Path, content: bytes, name: str, reason: str
) -> None:
    with pytest.raises(ConfigError, match=f"--data: .*{name}: {reason}"):
        read_rows(kept(tmp_path, content, name), "--data")


def test_a_folder_or_a_name_of_the_hub_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no such file; save a hub's data set as one: load_dataset\("):
        read_rows(Path("owner/name"), "--data")
    with pytest.raises(ConfigError, match="is a folder; name the file in it"):
        read_rows(tmp_path, "--data")
