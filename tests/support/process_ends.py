"""The end of processes, children of the test or not."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

from launch.machine import child

LONG_S = 30.0
"""No wait lasts so long unless something is broken."""


def ending_with_us(argv: Sequence[str], descriptors: int = 0) -> list[str]:
    """A command that becomes `argv` and is killed when we end: a run that is killed leaves nothing behind.

    `descriptors`: its `ulimit -n`, soft and hard.
    """
    limit = ["sh", "-c", f'ulimit -n {descriptors}; exec "$@"', "sh"] if descriptors else []
    return child.ending_with_us([*limit, *argv], os.environ, signal.SIGKILL)


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
