"""An engine's counters of its prefix cache."""

from __future__ import annotations

import pytest

from gateway.errors import EngineFailure
from launch.bench.pipeline.prefix_cache import PrefixCache, counted, read

SAID = """# HELP vllm:prefix_cache_queries_total Prefix cache queries, in terms of number of queried tokens.
# TYPE vllm:prefix_cache_queries_total counter
vllm:prefix_cache_queries_total{engine="0",model_name="base"} 1200.0
vllm:prefix_cache_queries_total{engine="1",model_name="base"} 1.2e+03
vllm:prefix_cache_hits_total{engine="0",model_name="base"} 384.0
vllm:external_prefix_cache_hits_total{engine="0",model_name="base"} 7.0
"""


def test_ranks_are_added_up_and_other_caches_left_out() -> None:
    assert counted(SAID) == PrefixCache(2400.0, 384.0)
    assert counted("") == PrefixCache(0.0, 0.0)


def test_a_rate_is_of_what_was_looked_for_meanwhile() -> None:
    assert PrefixCache(300.0, 90.0).since(PrefixCache(100.0, 40.0)).hit_rate == 0.25
    assert PrefixCache(0.0, 0.0).hit_rate == 0.0


def test_an_engine_that_is_not_there_is_no_cache_without_hits() -> None:
    with pytest.raises(EngineFailure):
        read("http://127.0.0.1:9", "key")
