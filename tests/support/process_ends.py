"""Waiting for the end of processes, children of the test or not. It imports nothing of the project."""

from __future__ import annotations

import os
import select
from collections.abc import Collection, Iterator
from contextlib import contextmanager

LONG_S = 30.0
"""No wait lasts so long unless something is broken."""


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
