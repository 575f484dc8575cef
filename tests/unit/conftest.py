"""What the tests that need no engine share."""

from __future__ import annotations

import os


def pytest_configure() -> None:
    """Before torch is imported: with a worker on each core, its threads would wait for one another."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
