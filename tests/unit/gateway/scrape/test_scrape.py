"""`GET /metrics`: the gateway's figures, its engines' state and what they say of themselves, in one text."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.stack import Stack, stack

pytestmark = pytest.mark.anyio
SAID = b"""# HELP vllm:kv_cache_usage_perc KV-cache usage. 1 means 100 percent usage.
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc{engine="0",model_name="base"} 0.25
"""


async def scraped(s: Stack) -> dict[str, list[dict[str, str]]]:
    answer = await s.client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return {
        family.name: [sample.labels for sample in family.samples]
        for family in text_string_to_metric_families(answer.text)
    }


async def test_one_scrape_shows_both(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        s.engine.load = SAID
        await s.chat()
        await s.at_rest()
        found = await scraped(s)
        assert {"task": "naming"}.items() <= found["lora_gateway_requests"][0].items()
        assert found["vllm:kv_cache_usage_perc"] == [
            {"engine": "engine-0", "rank": "0", "model_name": "base"}
        ]
        assert {"engine": "engine-0", "state": "ready"} in found["lora_gateway_engine_state"]
        assert found["lora_gateway_build_info"]


async def test_without_an_engine_the_gateways_own_are_shown(tmp_path: Path) -> None:
    async with stack(tmp_path, ready=False) as s:
        found = await scraped(s)
        assert "lora_gateway_workers" in found
        assert not any(name.startswith("vllm") for name in found)
