"""What every test shares: the loop that production uses."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}


@pytest.fixture(params=["express", "task"])
def both_ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a test with requests served without a task where that is possible, and with one always."""
    monkeypatch.setattr("tests.unit.stack.EXPRESS", request.param == "express")
