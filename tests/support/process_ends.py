"""The end of processes, children of the test or not. It imports nothing of the project."""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

LONG_S = 30.0
"""No wait lasts so long unless something is broken."""

PR_SET_PDEATHSIG = 1  # linux/prctl.h
BEGINNING = f"""
import ctypes, os, resource, signal, sys
ctypes.CDLL(None).prctl({PR_SET_PDEATHSIG}, {int(signal.SIGKILL)}, 0, 0, 0)
if int(sys.argv[1]):
    resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]),) * 2)
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
os.execvp(sys.argv[2], sys.argv[2:])
"""


def ending_with_us(argv: Sequence[str], descriptors: int = 0) -> list[str]:
    """A command that becomes `argv` and is killed when we end: a run that is killed leaves nothing behind.

    `descriptors`: its `ulimit -n`, soft and hard. A hook between fork and exec would have Python run those of
    libraries there too, one of which takes a lock.
    """
    return [sys.executable, "-I", "-S", "-c", BEGINNING, str(descriptors), *argv]


@contextmanager
def watched(pids: Collection[int]) -> Iterator[list[int]]:
    """Descriptors that become readable when the processes end."""
    descriptors = [os.pidfd_open(pid) for pid in pids]
    try:
        yield descriptors
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def wait_for_end(descriptors: list[int], limit_s: float = LONG_S) -> None:
    """Of each one for so long at most."""
    for descriptor in descriptors:
        assert select.select([descriptor], [], [], limit_s)[0], "a process still runs"
