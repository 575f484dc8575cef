"""What a forked process can be made to go by, and what not; threads are bound in one with real torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from launch.engine.vllm_plugin.processes.forked import differing, places

PROGRAM = """
import json, os, sys
import torch
from launch.engine.vllm_plugin.processes.forked import bind

processors = json.loads(sys.argv[1])
before = {*os.listdir("/proc/self/task")}
bind(processors)
begun = sorted({*os.listdir("/proc/self/task")} - before, key=int)
bound = [sorted(os.sched_getaffinity(int(task))) for task in begun]
total = torch.ones(1 << 20).sum().item()
print(json.dumps([sorted(os.sched_getaffinity(0)), bound, torch.get_num_threads(), total]))
"""


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        ({"VLLM_ANY": "1", "ANY": "1", "GOMP_CPU_AFFINITY": "0 1", "OMP_NUM_THREADS": "2"}, []),
        ({"OMP_PLACES": "{0,1}", "OMP_PROC_BIND": "true"}, []),
        ({"OMP_PLACES": "cores"}, ["GOMP_CPU_AFFINITY", "OMP_PLACES"]),
        ({"MKL_NUM_THREADS": "1"}, ["MKL_NUM_THREADS"]),
        ({"LD_PRELOAD": "/nowhere/libtcmalloc.so"}, ["LD_PRELOAD"]),
        ({"LD_PRELOAD": os.path.realpath(sys.executable)}, []),
    ],
)
def test_what_a_library_read_as_it_was_loaded_must_be_as_it_was(
    now: dict[str, str], expected: list[str]
) -> None:
    assert differing({}, now) == expected
    assert differing(now, now) == [] or "OMP_PLACES" in expected


def test_a_library_may_be_named_by_a_link(tmp_path: Path) -> None:
    """As in an environment that is one."""
    link = tmp_path / "bin"
    link.symlink_to(Path(os.path.realpath(sys.executable)).parent)
    assert differing({}, {"LD_PRELOAD": f"{link / Path(os.path.realpath(sys.executable)).name}"}) == []


def test_places_are_read_as_vllm_writes_them() -> None:
    assert places({"GOMP_CPU_AFFINITY": "4 0 2"}) == places({"OMP_PLACES": "{4,0,2}"}) == [4, 0, 2]
    assert places({}) == []


def test_threads_are_bound_each_to_its_processor() -> None:
    processors = sorted(os.sched_getaffinity(0))[::-1]
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(processors)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[6])},
    )
    first, others, count, total = json.loads(ran.stdout)
    assert first == [processors[0]]
    assert all([processor] in others for processor in processors[1:])
    assert (count, total) == (len(processors), 1 << 20)
