"""The file of what was used: what workers add stands there once, and is summed as it is asked for."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gateway.usage.database import FILE, Row, UsageDatabase, read_usage

ONE: Row = ("2026-11-28", "a", "acme", "naming", "naming@1", 1, 0, 7, 3, 0, 0)
OTHER: Row = ("2026-11-29", "b", "", "naming", "naming@1", 2, 0, 10, 20, 1, 5)


def test_what_is_added_is_added_up(tmp_path: Path) -> None:
    database = UsageDatabase(tmp_path)
    database.add([ONE, OTHER])
    database.add([ONE])
    used = read_usage(tmp_path, ["key", "tenant"], "2026-11-01")
    assert [(one.labels, list(one.figures)) for one in used] == [
        ({"key": "a", "tenant": "acme"}, [2, 0, 14, 6, 0, 0]),
        ({"key": "b", "tenant": ""}, [2, 0, 10, 20, 1, 5]),
    ]
    assert [list(one.figures) for one in read_usage(tmp_path, ["task"], "2026-11-01")] == [
        [4, 0, 24, 26, 1, 5]
    ]
    database.close()


def test_days_before_and_other_tenants_are_left_out(tmp_path: Path) -> None:
    database = UsageDatabase(tmp_path)
    database.add([ONE, OTHER])
    database.close()
    assert [one.labels for one in read_usage(tmp_path, ["key"], "2026-11-29")] == [{"key": "b"}]
    assert [one.labels for one in read_usage(tmp_path, ["key"], "2026-11-01", "acme")] == [{"key": "a"}]


def test_a_part_that_cannot_be_added_leaves_nothing(tmp_path: Path) -> None:
    database = UsageDatabase(tmp_path)
    with pytest.raises(sqlite3.Error):
        database.add([ONE, ("2026-11-28",)])
    assert read_usage(tmp_path, ["day"], "2026-01-01") == []
    database.close()


def test_several_processes_lose_nothing(tmp_path: Path) -> None:
    def write(_: int) -> None:
        database = UsageDatabase(tmp_path)
        for _ in range(10):
            database.add([ONE])
        database.close()

    with ThreadPoolExecutor(4) as writers:
        list(writers.map(write, range(4)))
    assert list(read_usage(tmp_path, ["key"], "2026-01-01")[0].figures)[:4] == [40, 0, 280, 120]


def test_where_nothing_was_counted_no_file_is_made(tmp_path: Path) -> None:
    assert read_usage(tmp_path, ["key"], "2026-01-01") == []
    assert not (tmp_path / FILE).exists()
