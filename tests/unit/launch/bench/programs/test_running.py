"""Programs under test, apart from the load."""

from __future__ import annotations

import os
from pathlib import Path

from launch.bench.programs.running import Programs, choose_cores, wait_until


def test_cores_are_apart_where_there_are_two() -> None:
    assert choose_cores([3, 1, 2]).apart
    assert not choose_cores([0]).apart


def test_what_was_started_is_known_with_what_it_started(tmp_path: Path) -> None:
    before = os.sched_getaffinity(0)
    with (
        (tmp_path / "log").open("w") as log,
        Programs(choose_cores(sorted(before)), log) as programs,
    ):
        child = programs.start("shell", ["sh", "-c", "sleep 60 & echo so; wait"], programs.cores.load)
        wait_until(child, lambda: "so" in child.last_lines, "the shell")
        assert child.pid in programs.pids()
        assert len(programs.pids()) == 2
    assert os.sched_getaffinity(0) == before
