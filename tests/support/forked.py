"""A part of a test in a process of its own, forked from it."""

from __future__ import annotations

import os
from collections.abc import Callable


def child(work: Callable[[], None]) -> int:
    """A forked process that does `work` and ends; its pid."""
    pid = os.fork()
    if not pid:
        try:
            work()
        finally:
            os._exit(0)
    return pid
