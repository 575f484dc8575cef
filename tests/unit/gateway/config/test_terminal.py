"""A terminal that is there, and one that was closed."""

from __future__ import annotations

import os
import subprocess
import sys

CHILD = """
import fcntl, signal, sys, termios
from gateway.config.terminal import has_terminal
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
