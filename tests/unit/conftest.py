"""What the tests that need no engine share."""

from __future__ import annotations

import os

from tests.support.folders.memory_folder import keep_folders_in_memory


def pytest_configure() -> None:
    """Before torch is imported: with a worker on each core, its threads would wait for one another."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    keep_folders_in_memory()
