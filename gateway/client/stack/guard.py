"""Runs a command and ends it with whoever started this: `guard.py GRACE_SECONDS COMMAND…`, stdin a pipe.

A program of its own between a Python process and the stack that it started, since nothing in a process that
is killed can clean up, and the kernel's parent-death signal is tied to the thread that forked, which may be
any worker's. Its stdin ends with the process that holds the other side, however that ends; from the first
moment, so there is none in which the command could be left behind. Standard library only.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

POLL_S = 0.1
PR_SET_PDEATHSIG = 1  # linux/prctl.h


def run(grace_s: float, command: Sequence[str]) -> int:
    """The command's exit code; 128 and the signal's number where one ended it."""
    asked = False

    def ask(_number: int, _frame: object) -> None:
        nonlocal asked
        asked = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ask)
    # One thread and nothing held: the hook between fork and exec is safe here.
    child = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=_die_with_parent()
    )
    while child.poll() is None and not asked:
        # Nobody writes to it: it is readable once, at its end.
        readable, _, _ = select.select([0], [], [], POLL_S)
        asked = asked or (bool(readable) and not os.read(0, 1))
    if child.poll() is None:
        child.terminate()
        end = time.monotonic() + grace_s
        while child.poll() is None and time.monotonic() < end:
            time.sleep(POLL_S)
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
    code: int = child.wait()
    return code if code >= 0 else 128 - code


def _die_with_parent() -> Callable[[], object] | None:
    """A hook for the child: SIGTERM when this program is killed. Only Linux can do that."""
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl  # looked up before the fork
    return lambda: prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)


if __name__ == "__main__":
    sys.exit(run(float(sys.argv[1]), sys.argv[2:]))
