"""What a process has used, from the kernel's own tables."""

from __future__ import annotations

import os

from launch.bench.programs import proc
from launch.machine.memory import tree


def test_cpu_time_grows_with_work() -> None:
    before = proc.cpu_s([os.getpid()])
    sum(range(3_000_000))
    assert before < proc.cpu_s([os.getpid()]) < before + 60
    assert proc.cpu_s([2**30]) == 0


def test_this_process_is_in_its_own_tree_and_has_memory() -> None:
    assert os.getpid() in tree(os.getpid())
    assert proc.resident_bytes([os.getpid()]) > 2**20
    assert proc.resident_bytes([2**30]) == 0
