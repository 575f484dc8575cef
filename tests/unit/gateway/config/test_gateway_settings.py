"""The data plane's own settings: their bounds, and origins in one spelling."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from gateway.config.gateway_settings import GatewayConfig


def test_defaults_listen_on_loopback_and_open_nothing() -> None:
    made = GatewayConfig.model_validate({})
    assert (made.host, made.cors_origins, made.public_metrics, made.keys_required) == (
        "127.0.0.1",
        [],
        False,
        False,
    )
    assert made.max_in_flight_per_task <= made.max_in_flight


@pytest.mark.parametrize(
    "given",
    [
        {"port": 65536},
        {"port": -1},
        {"workers": 0},
        {"queue_timeout_s": 0},
        {"max_waiting": -1},
        {"parameters": "loose"},
        {"cors_origins": ["example.org/path"]},
        {"max_inflight": 5},
    ],
)
def test_what_cannot_be_is_refused(given: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        GatewayConfig.model_validate(given)


def test_bounds_themselves_are_taken() -> None:
    given = {"port": 0, "max_waiting": 0, "max_cold_waiting": 0, "workers": 1, "cors_origins": ["*"]}
    made = GatewayConfig.model_validate(given)
    assert (made.port, made.max_waiting, made.cors_origins) == (0, 0, ["*"])
