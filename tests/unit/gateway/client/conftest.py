"""What the tests of the Python API share."""

from __future__ import annotations

import pytest

URL = "http://gateway.test"
"""Of a gateway that the network of a test answers for."""


@pytest.fixture
def named_gateway(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the environment's."""
    monkeypatch.setenv("LORA_GATEWAY_URL", URL)
