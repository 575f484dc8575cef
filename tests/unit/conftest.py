"""What the tests that need no engine share."""

from __future__ import annotations

import os

import pytest

from gateway.relay.fallback.litellm_loader import import_library


def pytest_configure() -> None:
    """Before torch is imported: with a worker on each core, its threads would wait for one another."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session", autouse=True)
def whole_litellm() -> None:
    """Imported before any test. A gateway with fallbacks imports it in a thread, which may outlast its test:
    what the next one patches or takes away then breaks that import, and LiteLLM in this process for good.
    """
    import_library()
