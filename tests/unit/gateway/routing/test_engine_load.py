"""What an engine says of its load, in vLLM's words."""

from __future__ import annotations

from gateway.admission.engine_bound import EngineLoad
from gateway.routing.engine_load import read_load

TEXT = b"""# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="base {x} y"} 3.0
vllm:num_requests_running{engine="1",model_name="base {x} y"} 4.0
# HELP vllm:num_requests_waiting Number of requests waiting to be processed.
vllm:num_requests_waiting{engine="0",model_name="base"} 9.0
vllm:num_requests_waiting_by_reason{engine="0",model_name="base",reason="capacity"} 5.0
vllm:num_requests_waiting_by_reason{engine="1",model_name="base",reason="capacity"} 1.0
vllm:num_requests_waiting_by_reason{engine="0",model_name="base",reason="deferred"} 4.0
vllm:kv_cache_usage_perc{engine="0",model_name="base"} 0.25
vllm:kv_cache_usage_perc{engine="1",model_name="base"} 0.5
vllm:num_preemptions_total{engine="0",model_name="base"} 2.0
vllm:num_preemptions_created{engine="0",model_name="base"} 1.7e+09
"""


def test_all_ranks_together_and_of_those_that_wait_who_lacks_room() -> None:
    assert read_load(TEXT) == EngineLoad(7, 6, cache_use=0.5, preemptions=2.0)


def test_an_older_release_says_how_many_wait_and_another_server_says_nothing() -> None:
    older = b"".join(line for line in TEXT.splitlines(True) if b"by_reason" not in line)
    found = read_load(older)
    assert found is not None
    assert found.waiting == 9
    assert read_load(b"") is None
    assert read_load(b'sglang:num_running_reqs{} 3.0\nvllm:num_requests_running{engine="0"} 3.0\n') is None
