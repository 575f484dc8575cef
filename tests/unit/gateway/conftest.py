"""What the tests of the gateway share."""

from __future__ import annotations

import pytest

from gateway.relay.fallback.litellm_loader import import_library


@pytest.fixture(scope="session", autouse=True)
def whole_litellm() -> None:
    """Imported before their first. A gateway with fallbacks imports it in a thread that may outlast its test,
    and what later tests make of warnings and of the environment reaches into that import. One that broke
    left half of its modules once, and every fallback's test of that process failed.
    """
    import_library()
