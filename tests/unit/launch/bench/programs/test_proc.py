"""What a process has used, from the kernel's own tables."""

from __future__ import annotations

import os

import pytest

from launch.bench.programs import proc
from launch.machine.memory import parent_of, tree


def test_cpu_time_and_parent_are_read_behind_any_process_name() -> None:
    fields = ["S", "7", *["0"] * 9, "250", "50", *["0"] * 30]
    line = f"42 (a) b (c) {' '.join(fields)}"
    assert parent_of(line) == 7
    assert proc.cpu_s_of(line) == pytest.approx(300 / proc.TICKS_PER_S)


def test_this_process_is_in_its_own_tree_and_has_memory() -> None:
    assert os.getpid() in tree(os.getpid())
    assert proc.resident_bytes([os.getpid()]) > 2**20
    assert proc.resident_bytes([2**30]) == 0
