"""Workers on the cores there are: where they run, what could be reached, what is made of the rounds."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from launch.bench.overhead.workers import (
    APART,
    SHARED,
    CoreShares,
    WorkersPlan,
    most_per_s,
    pin,
    placements,
    ratios,
    report,
)
from launch.bench.results.summary import summarise


def test_the_gateway_is_alone_on_a_core_and_then_shares_all() -> None:
    found = placements([0, 1, 2])
    assert found[APART] == CoreShares(frozenset({0}), frozenset({1}))
    assert found[SHARED] == CoreShares(frozenset({0, 1, 2}), frozenset({0, 1, 2}))
    assert [*placements([3])] == [SHARED]


def test_the_most_is_bound_by_the_fuller_core_or_by_all_together() -> None:
    apart = CoreShares(frozenset({0}), frozenset({1}))
    assert most_per_s(50.0, 20.0, apart) == pytest.approx(20_000)
    assert most_per_s(10.0, 20.0, apart) == pytest.approx(50_000)
    both = frozenset({0, 1})
    assert most_per_s(30.0, 20.0, CoreShares(both, both)) == pytest.approx(40_000)


def test_every_thread_of_a_process_is_pinned() -> None:
    core = min(os.sched_getaffinity(0))
    script = "import threading; threading.Thread(target=input).start(); print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        pin([child.pid, 2**22 + 1], [core])  # the second is no process
        threads = os.listdir(f"/proc/{child.pid}/task")
        assert len(threads) == 2
        assert all(os.sched_getaffinity(int(one)) == {core} for one in threads)
        child.kill()


def test_several_workers_are_held_against_one_within_a_round() -> None:
    rows = [
        {"round": number, "cell": "apart", "subject": subject, "requests_per_s": rate, "cpu_us": cpu}
        for number, factor in enumerate((1.0, 2.0))
        for subject, rate, cpu in (("1 worker", 100.0 * factor, 40.0), ("2 workers", 150.0 * factor, 44.0))
    ]
    found = ratios(rows, (1, 2))
    assert found["2 workers, apart"]["requests_per_s"] == {"median": 1.5, "least": 1.5, "most": 1.5}
    text = report(summarise(rows), found)
    assert "| apart | 2 workers | 225 (150 to 300) |" in text
    assert "| 2 workers, apart | 1.50 | 1.10 |" in text


def test_a_quick_plan_does_everything_once() -> None:
    assert WorkersPlan.quick().rounds == 1
    assert WorkersPlan.quick().workers == WorkersPlan().workers == (1, 2, 4)
