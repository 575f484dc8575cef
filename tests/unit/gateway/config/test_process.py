"""When a process started, a number of its own as long as the machine runs; a terminal that is closed."""

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


CHILD = """
import fcntl, signal, sys, termios
from gateway.config.process import has_terminal
signal.signal(signal.SIGHUP, signal.SIG_IGN)
fcntl.ioctl(int(sys.argv[1]), termios.TIOCSCTTY, 0)
print(has_terminal(), flush=True)
sys.stdin.read()
print(has_terminal(), flush=True)
"""


def test_terminal_that_is_closed_is_none() -> None:
    ours, theirs = os.openpty()
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(theirs)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=(theirs,),
        start_new_session=True,
        text=True,
    )
    os.close(theirs)
    assert child.stdout is not None
    assert child.stdout.readline() == "True\n"
    os.close(ours)
    assert child.communicate(timeout=30)[0] == "False\n"
