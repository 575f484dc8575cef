"""Of vLLM's own text, the figures that are shown: chosen, named by engine, each family in one piece."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from gateway.scrape.engine_text import SHOWN, joined, selected

TEXT = """\
# HELP python_gc_objects_collected_total Objects collected during gc
# TYPE python_gc_objects_collected_total counter
python_gc_objects_collected_total{generation="0"} 9.0
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="base"} 3.0
# HELP vllm:num_requests_waiting_by_reason Number of waiting requests by reason.
# TYPE vllm:num_requests_waiting_by_reason gauge
vllm:num_requests_waiting_by_reason{engine="0",model_name="base",reason="capacity"} 1.0
# HELP vllm:num_preemptions_total Cumulative number of preemption from the engine.
# TYPE vllm:num_preemptions_total counter
vllm:num_preemptions_total{engine="0",model_name="a,engine=\\"1\\""} 2.0
# HELP vllm:num_preemptions_created Cumulative number of preemption from the engine.
# TYPE vllm:num_preemptions_created gauge
vllm:num_preemptions_created{engine="0",model_name="base"} 1.7e+09
# HELP vllm:request_queue_time_seconds Histogram of time spent in WAITING phase for request.
# TYPE vllm:request_queue_time_seconds histogram
vllm:request_queue_time_seconds_bucket{engine="0",le="0.3",model_name="base"} 4.0
vllm:request_queue_time_seconds_bucket{engine="0",le="+Inf",model_name="base"} 5.0
vllm:request_queue_time_seconds_count{engine="0",model_name="base"} 5.0
vllm:request_queue_time_seconds_sum{engine="0",model_name="base"} 0.75
# HELP vllm:lora_requests_info Running stats on lora requests.
# TYPE vllm:lora_requests_info gauge
vllm:lora_requests_info{max_lora="2",running_lora_adapters="a,b"} 1.7e+09
"""


def test_what_is_shown_names_the_engine_and_the_rank() -> None:
    lines = joined([selected(TEXT, "engine-0")]).splitlines()
    assert 'vllm:num_requests_running{engine="engine-0",rank="0",model_name="base"} 3.0' in lines
    assert any(line.startswith("vllm:num_requests_waiting_by_reason{") for line in lines)
    assert not any(
        "python_gc" in line or "lora_requests_info" in line or "_created" in line for line in lines
    )


def test_a_label_within_a_value_stays() -> None:
    line = next(one for one in joined([selected(TEXT, "e")]).splitlines() if one.startswith("vllm:num_preem"))
    assert line == 'vllm:num_preemptions_total{engine="e",rank="0",model_name="a,engine=\\"1\\""} 2.0'


def test_several_engines_make_one_text() -> None:
    families = list(text_string_to_metric_families(joined([selected(TEXT, "one"), selected(TEXT, "two")])))
    assert [family.name for family in families] == [
        "vllm:num_requests_running",
        "vllm:num_requests_waiting_by_reason",
        "vllm:num_preemptions",
        "vllm:request_queue_time_seconds",
    ]
    assert [family.type for family in families] == ["gauge", "gauge", "counter", "histogram"]
    engines = [sample.labels["engine"] for sample in families[0].samples]
    assert engines == ["one", "two"]


def test_an_engine_that_says_nothing_of_use_adds_nothing() -> None:
    assert joined([selected("<html>", "one"), selected("", "two")]) == ""
    assert len(set(SHOWN)) == len(SHOWN)
