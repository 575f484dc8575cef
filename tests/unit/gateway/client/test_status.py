"""What the gateway knows of a model, put together from three of its answers."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.client.errors import AdapterNotLoaded
from gateway.client.model_list import catalogue_of
from gateway.client.status import status_of

CATALOGUE = catalogue_of(
    {
        "data": [
            {"id": "smol", "kind": "base", "root": "/m", "max_model_len": 512},
            {"id": "concept", "kind": "task", "root": "concept@1"},
            {"id": "naming", "kind": "task", "root": None},
            {"id": "both", "kind": "pipeline", "root": None},
        ]
    }
)
HEALTH: dict[str, Any] = {
    "engines": [
        {"state": "failed", "reason": "no memory"},
        {"state": "ready", "memory_bytes": 5, "memory_on": "host"},
        {"state": "ready", "memory_bytes": 7, "memory_on": "host"},
    ]
}
METRICS = """
lora_gateway_requests_total{task="concept",adapter="concept@1",origin="client",status="200"} 3
lora_gateway_requests_total{task="concept",adapter="concept@1",origin="client",status="500"} 9
lora_gateway_requests_total{task="smol",adapter="base",origin="client",status="200"} 2
lora_gateway_requests_total{task="both",adapter="",origin="client",status="200"} 4
lora_gateway_requests_in_flight{task="concept",adapter="concept@1"} 1
lora_gateway_requests_in_flight{task="smol",adapter="base"} 0
"""


def test_task_counts_its_own_good_answers() -> None:
    status = status_of("concept", CATALOGUE, HEALTH, METRICS)
    assert (status["status"], status["use_count"], status["in_flight"]) == ("ready", 3, 1)
    assert (status["adapters"], status["active_adapters"]) == (["concept"], ["concept"])
    assert (status["memory_bytes"], status["memory_on"]) == (12, "host")


def test_base_counts_all_that_went_to_the_engine() -> None:
    for name in ("smol", "base"):
        status = status_of(name, CATALOGUE, HEALTH, METRICS)
        assert (status["name"], status["use_count"], status["in_flight"]) == ("smol", 5, 1)
        assert (status["adapters"], status["active_adapters"]) == (["concept"], ["concept"])
        assert status["max_model_len"] == 512


def test_task_that_a_ready_engine_does_not_have_is_not_loaded() -> None:
    status = status_of("naming", CATALOGUE, HEALTH, METRICS)
    assert (status["status"], status["adapters"], status["use_count"]) == ("not_loaded", [], 0)


def test_without_an_engine_the_first_ones_reason_is_said() -> None:
    status = status_of("concept", CATALOGUE, {"engines": HEALTH["engines"][:1]}, "")
    assert (status["status"], status["reason"], status["memory_bytes"]) == ("failed", "no memory", None)
    assert status_of("concept", CATALOGUE, {}, "")["status"] == "stopped"


def test_unknown_name_is_refused() -> None:
    with pytest.raises(AdapterNotLoaded):
        status_of("nobody", CATALOGUE, HEALTH, METRICS)
