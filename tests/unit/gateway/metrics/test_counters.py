"""The counters, as a scrape sees them."""

from __future__ import annotations

import subprocess

from prometheus_client.parser import text_string_to_metric_families

from gateway.metrics.counters import MOST_KEYS, Metrics
from gateway.metrics.exposition import INTER_TOKEN_S, OVERFLOW, Buckets
from gateway.metrics.shared_memory import OWNER, Region, parts_of

SMALL = 64 * 1024


NAMING = ("naming", "naming@3f2a9c1b04de", "client")


Samples = dict[tuple[str, ...], float]


def small(workers: int = 1) -> list[Region]:
    return [Region(SMALL) for _ in range(workers)]


def pid_of_none() -> int:
    """The id of a process that has just ended."""
    ended = subprocess.Popen(["true"])
    ended.wait(timeout=30)
    return ended.pid


def scraped(metrics: Metrics) -> Samples:
    """Name without its prefix, then the labels' values in the order of their names → value."""
    body, content_type = metrics.render()
    assert content_type.startswith("text/plain; version=0.0.4")
    return {
        (
            sample.name.removeprefix("lora_gateway_"),
            *(sample.labels[name] for name in sorted(sample.labels)),
        ): (sample.value)
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }


def by_task(task: str = "naming") -> tuple[str, str, str]:
    """The labels adapter, origin, task of NAMING, in `scraped`'s order."""
    return ("naming@3f2a9c1b04de", "client", task)


def test_a_finished_request_counts_everywhere() -> None:
    metrics = Metrics(small())
    series = metrics.series[NAMING]
    series.enter()
    assert scraped(metrics)["requests_in_flight", *by_task()] == 1
    series.finished(200, 1.5, 0.02, 0.3, 57, 24)
    series.leave()
    seen = scraped(metrics)
    adapter, origin, task = by_task()
    assert seen["requests_total", adapter, origin, "200", task] == 1
    assert seen["prompt_tokens_total", *by_task()] == 57
    assert seen["completion_tokens_total", *by_task()] == 24
    assert seen["requests_in_flight", *by_task()] == 0
    assert seen["cancellations_total", *by_task()] == 0
    assert seen["workers",] == 1
    for name, value in (("queue", 0.02), ("time_to_first_token", 0.3), ("request", 1.5)):
        assert seen[f"{name}_seconds_count", *by_task()] == 1
        assert seen[f"{name}_seconds_sum", *by_task()] == value
    assert not [key for key in seen if "overflow" in key]


def test_a_bucket_holds_its_bound_and_all_below() -> None:
    metrics = Metrics(
        small(), buckets=Buckets(queue_s=(0.0, 1.0), first_token_s=(2.0,), request_s=(3.0, 4.0))
    )
    series = metrics.series[NAMING]
    for total_s, queue_s, first_token_s in ((3.0, 0.0, 2.0), (3.5, 1.0, 2.1), (99.0, 1.1, None)):
        series.finished(200, total_s, queue_s, first_token_s, 0, 0)
    seen = scraped(metrics)

    def counts(name: str, *bounds: str) -> list[float]:
        adapter, origin, task = by_task()
        return [seen[f"{name}_seconds_bucket", adapter, bound, origin, task] for bound in bounds]

    assert counts("queue", "0.0", "1.0", "+Inf") == [1, 2, 3]
    assert counts("time_to_first_token", "2.0", "+Inf") == [1, 2]
    assert counts("request", "3.0", "4.0", "+Inf") == [1, 2, 3]


def test_a_failure_counts_by_status_and_code_and_in_the_totals_time() -> None:
    metrics = Metrics(small())
    series = metrics.series[NAMING]
    series.failed("timeout", 504, 600.0)
    series.failed("engine_error", 502, 1.0)
    series.failed("engine_error", 502, 1.0)
    seen = scraped(metrics)
    adapter, origin, task = by_task()
    assert seen["requests_total", adapter, origin, "502", task] == 2
    assert seen["requests_total", adapter, origin, "504", task] == 1
    assert seen["errors_total", adapter, "engine_error", origin, task] == 2
    assert seen["errors_total", adapter, "timeout", origin, task] == 1
    assert seen["request_seconds_sum", *by_task()] == 602
    assert ("queue_seconds_count", *by_task()) not in seen


def test_a_cancelled_request_is_a_499() -> None:
    metrics = Metrics(small())
    metrics.series[NAMING].cancelled(2.0, 3)
    seen = scraped(metrics)
    adapter, origin, task = by_task()
    assert seen["requests_total", adapter, origin, "499", task] == 1
    assert seen["cancellations_total", *by_task()] == 1
    assert seen["unfinished_stream_events_total", *by_task()] == 3
    assert seen["request_seconds_count", *by_task()] == 1


def test_a_refused_request_has_no_adapter() -> None:
    metrics = Metrics(small())
    metrics.refused("naming", "overloaded", 503)
    metrics.refused("naming", "overloaded", 503)
    metrics.refused("", "model_not_found", 404)
    seen = scraped(metrics)
    assert seen["requests_total", "", "client", "503", "naming"] == 2
    assert seen["errors_total", "", "overloaded", "client", "naming"] == 2
    assert seen["requests_total", "", "client", "404", ""] == 1
    assert seen["errors_total", "", "model_not_found", "client", ""] == 1


def test_origins_and_adapters_of_a_task_are_apart() -> None:
    metrics = Metrics(small())
    assert metrics.series[NAMING] is metrics.series[NAMING]
    metrics.series["naming", "naming@1", "client"].finished(200, 1, 0, None, 1, 0)
    metrics.series["naming", "naming@1", "pipeline"].finished(200, 1, 0, None, 2, 0)
    metrics.series["naming", "naming@2", "client"].finished(200, 1, 0, None, 3, 0)
    seen = scraped(metrics)
    assert seen["prompt_tokens_total", "naming@1", "client", "naming"] == 1
    assert seen["prompt_tokens_total", "naming@1", "pipeline", "naming"] == 2
    assert seen["prompt_tokens_total", "naming@2", "client", "naming"] == 3


def test_labels_of_any_text_are_escaped() -> None:
    metrics = Metrics(small())
    odd = 'a"b\\c\nd – é'
    metrics.series[odd, "", "client"].finished(200, 1, 0, None, 1, 0)
    assert scraped(metrics)["prompt_tokens_total", "", "client", odd] == 1


def test_workers_add_up_in_each_ones_text() -> None:
    regions = small(3)
    first, second = Metrics(regions, 0), Metrics(regions, 1)
    for metrics in (first, second, second):
        metrics.series[NAMING].finished(200, 1.0, 0.5, 0.7, 10, 1)
        metrics.series[NAMING].enter()
        metrics.waiting("naming", 2)
    second.waiting("naming", -1)
    second.refused("concept", "overloaded", 503)
    seen = scraped(first)
    assert seen == scraped(second)
    assert seen["prompt_tokens_total", *by_task()] == 30
    assert seen["queue_seconds_count", *by_task()] == 3
    assert seen["requests_in_flight", *by_task()] == 3
    assert seen["requests_waiting", "naming"] == 5
    assert seen["requests_total", "", "client", "503", "concept"] == 1
    assert seen["workers",] == 2  # nobody has taken the third region


def test_a_worker_in_a_dead_ones_place_counts_on_but_holds_nothing() -> None:
    regions = small(2)
    before, other = Metrics(regions, 0), Metrics(regions, 1)
    before.series[NAMING].finished(200, 1.0, 0.5, 0.7, 10, 1)
    before.series[NAMING].enter()
    before.waiting("naming", 4)
    other.series[NAMING].enter()
    after = Metrics(regions, 0)
    assert not other.any_wait_elsewhere()
    after.series[NAMING].finished(200, 1.0, 0.5, 0.7, 10, 1)
    seen = scraped(other)
    assert seen["prompt_tokens_total", *by_task()] == 20
    assert seen["requests_in_flight", *by_task()] == 1
    assert seen["requests_waiting", "naming"] == 0
    assert len(list(regions[0].records())) == len({key for key, _ in regions[0].records()})


def test_a_dead_workers_gauges_do_not_count_until_it_is_replaced() -> None:
    regions = small(2)
    lost = Metrics(regions, 0)
    lost.series[NAMING].finished(200, 1.0, 0.5, 0.7, 10, 1)
    lost.series[NAMING].enter()
    lost.waiting("naming", 1)
    other = Metrics(regions, 1)
    assert other.any_wait_elsewhere()
    regions[0]._words[OWNER] = pid_of_none()
    assert not other.any_wait_elsewhere()
    seen = scraped(other)
    assert seen["prompt_tokens_total", *by_task()] == 10
    assert seen["requests_in_flight", *by_task()] == 0
    assert seen["requests_waiting", "naming"] == 0
    assert seen["workers",] == 1


def test_a_full_region_counts_the_rest_together() -> None:
    metrics = Metrics([Region(8 * 1024)])
    for number in range(40):
        metrics.series[f"task-{number}", "a", "client"].finished(200, 1.0, 0.0, None, 1, 0)
        metrics.refused(f"task-{number}", "overloaded", 503)
        metrics.waiting(f"task-{number}", 1)
    seen = scraped(metrics)

    def total(name: str) -> float:
        return sum(value for key, value in seen.items() if key[0] == name)

    assert seen["prompt_tokens_total", "a", "client", "task-0"] == 1
    assert seen["prompt_tokens_total", "overflow", "overflow", "overflow"] > 1
    assert ("prompt_tokens_total", "a", "client", "task-39") not in seen
    assert total("prompt_tokens_total") == 40
    assert total("requests_total") == 80
    assert total("errors_total") == 40
    assert total("requests_waiting") == 40


def test_ten_thousand_tasks_fit() -> None:
    region = Region()
    metrics = Metrics([region])
    for number in range(10_000):
        metrics.series[f"task-{number}", f"task-{number}@3f2a9c1b04de", "client"].finished(
            200, 1, 0, 0.1, 1, 1
        )
        metrics.refused(f"task-{number}", "overloaded", 503)
        metrics.waiting(f"task-{number}", 1)
    kinds = [parts_of(key)[0] for key, _ in region.records()]
    spare = len(OVERFLOW)
    assert len(kinds) == 10_000 * 5 + spare


def test_times_between_tokens_make_a_histogram() -> None:
    metrics = Metrics.single()
    series = metrics.series[NAMING]
    gaps = [0] * (len(INTER_TOKEN_S) + 1)
    gaps[0], gaps[-1] = 3, 1
    for _ in range(2):
        series.streamed(gaps, 4.5)
    text = metrics.render()[0].decode()
    assert text.count("lora_gateway_inter_token_seconds_bucket{") == len(gaps)
    seen = scraped(metrics)
    assert seen["inter_token_seconds_count", *by_task()] == 8
    assert seen["inter_token_seconds_sum", *by_task()] == 9
    assert 'adapter="naming@3f2a9c1b04de",le="0.002",origin="client",task="naming"} 6.0' in text


def test_slots_are_counted_by_why_and_waits_by_their_length() -> None:
    metrics = Metrics.single()
    for change, why in ((1, "first_use"), (-1, "evicted"), (1, "evicted"), (-1, "restart")):
        metrics.resident("a@1", change, why)
    metrics.slot_wait("a@1", 0.5)
    metrics.slot_wait("a@1", 1.0)
    text = metrics.render()[0].decode()
    assert 'lora_gateway_slot_loads_total{adapter="a@1",reason="first_use"} 1.0' in text
    assert 'lora_gateway_slot_loads_total{adapter="a@1",reason="evicted"} 1.0' in text
    assert 'lora_gateway_slot_evictions_total{adapter="a@1"} 1.0' in text
    assert 'lora_gateway_slot_waits_total{adapter="a@1"} 2.0' in text
    assert 'lora_gateway_slot_wait_seconds_total{adapter="a@1"} 1.5' in text
    assert 'lora_gateway_adapter_resident{adapter="a@1"} 0.0' in text


def test_keys_beyond_a_bound_are_added_up() -> None:
    metrics = Metrics.single()
    for number in range(MOST_KEYS + 2):
        metrics.used(f"key-{number}", "acme", [1, 0, 2, 3, 0, 0])
    text = metrics.render()[0].decode()
    assert text.count('lora_gateway_key_requests_total{key="key-') == MOST_KEYS
    assert 'lora_gateway_key_prompt_tokens_total{key="overflow",tenant="overflow"} 4.0' in text
