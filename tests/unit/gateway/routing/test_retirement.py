"""Versions that are gone leave the metrics; what they counted stays with their task."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from gateway.config.snapshot import ShadowStatus
from gateway.metrics.counters import Metrics
from gateway.metrics.exposition import RETIRED
from gateway.metrics.shared_memory import CHANGES, OWNER, USED, Region
from gateway.routing.replicas import Replicas
from gateway.routing.retirement import AFTER_S, Retirement
from tests.fakes.fake_control import Weights, snapshot_with
from tests.support.stack import config_of
from tests.unit.gateway.metrics.test_counters import Samples, pid_of_none, scraped, small

FIRST, SECOND, THIRD = (f"naming@{digit * 12}" for digit in "123")


def count(metrics: Metrics, adapter: str, task: str = "naming") -> None:
    """A request of each kind, and what goes with it."""
    series = metrics.series[task, adapter, "client"]
    series.enter()
    series.finished(200, 1.5, 0.02, 0.3, 57, 24)
    series.leave()
    series.failed("engine_error", 502, 0.5)
    series.cancelled(0.1, 3)
    metrics.shadow(task, adapter, "same")
    metrics.resident(adapter, 1, "first_use")
    metrics.resident(adapter, -1, "evicted")


def by_task(samples: Samples) -> dict[tuple[str, ...], float]:
    """Each family's sums over adapters and candidates."""
    sums: dict[tuple[str, ...], float] = {}
    for (name, *labels), value in samples.items():
        if name != "adapter_resident":
            rest = [label for label in labels if "@" not in label and label != RETIRED]
            sums[name, *rest] = sums.get((name, *rest), 0.0) + value
    return sums


def adapters_in(metrics: Metrics) -> set[str]:
    return {label for key in scraped(metrics) for label in key if "@" in label}


def test_what_is_retired_is_summed_up_with_its_task() -> None:
    metrics = Metrics(small())
    for adapter in (FIRST, SECOND):
        count(metrics, adapter)
    count(metrics, "concept@444444444444", "concept")
    before = by_task(scraped(metrics))
    assert metrics.retire(FIRST)
    assert metrics.retire(SECOND)
    seen = scraped(metrics)
    assert by_task(seen) == before
    assert adapters_in(metrics) == {"concept@444444444444"}
    assert seen["requests_total", RETIRED, "client", "200", "naming"] == 2
    assert seen["errors_total", RETIRED, "engine_error", "client", "naming"] == 2
    assert seen["prompt_tokens_total", RETIRED, "client", "naming"] == 114
    assert seen["request_seconds_bucket", RETIRED, "+Inf", "client", "naming"] == 6
    assert seen["shadow_total", RETIRED, "same", "naming"] == 2
    assert metrics.adapters == {"concept@444444444444"}


def test_what_is_at_work_is_not_retired() -> None:
    metrics = Metrics(small())
    series = metrics.series["naming", FIRST, "client"]
    series.enter()
    metrics.resident(SECOND, 1, "first_use")
    assert not metrics.retire(FIRST)
    assert not metrics.retire(SECOND)
    series.leave()
    assert metrics.retire(FIRST)
    series.failed("engine_error", 502, 1.0)  # told only after its place was given back
    assert scraped(metrics)["requests_total", RETIRED, "client", "502", "naming"] == 1
    assert FIRST not in metrics.adapters


def test_version_that_comes_back_counts_from_the_start() -> None:
    metrics = Metrics(small())
    count(metrics, FIRST)
    assert metrics.retire(FIRST)
    count(metrics, FIRST)
    seen = scraped(metrics)
    assert seen["prompt_tokens_total", FIRST, "client", "naming"] == 57
    assert seen["prompt_tokens_total", RETIRED, "client", "naming"] == 57


def test_places_are_used_again() -> None:
    region = Region(64 * 1024)
    metrics = Metrics([region])
    used = 0
    for number in range(500):  # without that there is room for some forty
        adapter = f"naming@{number:012x}"
        count(metrics, adapter)
        assert metrics.retire(adapter)
        used = used or region._words[USED]
    assert region._words[USED] == used
    assert scraped(metrics)["prompt_tokens_total", RETIRED, "client", "naming"] == 500 * 57
    assert not any("overflow" in key for key in scraped(metrics))


def test_what_found_no_room_stays_where_it_was_counted() -> None:
    metrics = Metrics([Region(8 * 1024)])
    adapters = [f"naming@{number:012x}" for number in range(40)]
    for adapter in adapters:
        count(metrics, adapter)
    total = sum(value for key, value in scraped(metrics).items() if key[0] == "prompt_tokens_total")
    assert all(metrics.retire(adapter) for adapter in adapters)
    seen = scraped(metrics)
    assert sum(value for key, value in seen.items() if key[0] == "prompt_tokens_total") == total == 40 * 57
    assert not adapters_in(metrics)


def test_workers_retire_each_its_own() -> None:
    regions = small(2)
    one, other = Metrics(regions, 0), Metrics(regions, 1)
    for metrics in (one, other):
        count(metrics, FIRST)
    assert one.retire(FIRST)
    seen = scraped(other)
    assert seen["prompt_tokens_total", FIRST, "client", "naming"] == 57
    assert seen["prompt_tokens_total", RETIRED, "client", "naming"] == 57
    assert other.retire(FIRST)
    assert scraped(one)["prompt_tokens_total", RETIRED, "client", "naming"] == 114
    assert not adapters_in(one)


def test_a_worker_in_anothers_place_finds_what_is_free() -> None:
    regions = small()
    first = Metrics(regions)
    count(first, FIRST)
    count(first, SECOND)
    assert first.retire(FIRST)
    used = regions[0]._words[USED]
    second = Metrics(regions)
    assert second.adapters == {SECOND}
    count(second, THIRD)
    assert regions[0]._words[USED] == used
    assert second.retire(SECOND)
    assert scraped(second)["prompt_tokens_total", RETIRED, "client", "naming"] == 114


def test_a_reader_sees_no_change_half_done() -> None:
    metrics = Metrics([Region(1024 * 1024)])
    going_on, totals = threading.Event(), list[float]()

    def scrape() -> None:
        while not going_on.is_set():
            seen = dict(metrics._region.read())
            totals.append(sum(values[0] for key, values in seen.items() if key.startswith(b'["shadow"')))

    reader = threading.Thread(target=scrape)
    for number in range(2000):
        metrics.shadow("naming", f"naming@{number % 50:012x}", "same")
    reader.start()
    for _ in range(20):
        for adapter in list(metrics.adapters):
            assert metrics.retire(adapter)
        for number in range(50):
            metrics.shadow("naming", f"naming@{number:012x}", "same")
    going_on.set()
    reader.join()
    assert totals == sorted(totals)
    assert totals[-1] <= 3000


def test_a_writer_that_was_killed_half_way_is_read_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.metrics.shared_memory.READ_PAUSE_S", 0.0)
    regions = small()
    metrics = Metrics(regions)
    count(metrics, FIRST)
    regions[0]._words[CHANGES] += 1
    regions[0]._words[OWNER] = pid_of_none()
    assert scraped(metrics)["prompt_tokens_total", FIRST, "client", "naming"] == 57
    Metrics(regions)
    assert regions[0]._words[CHANGES] % 2 == 0
    assert regions[0]._words[OWNER] == os.getpid()


def test_an_hour_after_it_left_the_table_a_version_is_retired(tmp_path: Path) -> None:
    metrics, replicas, now = Metrics(small()), Replicas(config_of(tmp_path)), 0.0
    retirement = Retirement(metrics, replicas, lambda: now)
    version = 0

    def say(*adapters: str, shadow: str | None = None, retiring: tuple[str, ...] = ()) -> None:
        nonlocal version
        version += 1
        weights: dict[str, Weights] = {"naming": dict.fromkeys(adapters, 50.0)}
        shadows = {"naming": ShadowStatus(shadow, 0.1)} if shadow else None
        replicas.apply(
            snapshot_with(replicas.config, [], weights, version, shadow=shadows, retiring=list(retiring))
        )
        retirement.look()

    for adapter in (FIRST, SECOND, THIRD):
        count(metrics, adapter)
    metrics.refused("naming", "overloaded", 503)
    say(FIRST, SECOND, shadow=THIRD)
    now = 10 * AFTER_S
    say(SECOND, retiring=(FIRST,))
    now += AFTER_S
    say(SECOND)
    assert adapters_in(metrics) == {FIRST, SECOND}  # the shadow's hour is over
    now += AFTER_S - 1
    say(SECOND)
    assert adapters_in(metrics) == {FIRST, SECOND}
    say(FIRST, SECOND)
    now += 2
    say(SECOND)  # it came back: an hour anew
    assert adapters_in(metrics) == {FIRST, SECOND}
    now += AFTER_S
    retirement.look()
    assert adapters_in(metrics) == {SECOND}
    assert scraped(metrics)["requests_total", "", "client", "503", "naming"] == 1
