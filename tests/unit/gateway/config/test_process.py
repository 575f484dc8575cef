"""When a process started: a number that is its own for as long as the machine runs."""

from __future__ import annotations

import os
import subprocess
import sys

from gateway.config.process import started_ticks


def test_a_process_has_one_and_a_child_a_later_one() -> None:
    own = started_ticks(os.getpid())
    assert own is not None
    assert started_ticks(os.getpid()) == own
    with subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE) as child:
        childs = started_ticks(child.pid)
        assert childs is not None
        assert childs >= own
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert started_ticks(child.pid) is None  # a zombie
    assert started_ticks(2**22 + 1) is None
