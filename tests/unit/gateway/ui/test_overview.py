"""The document that the page is drawn from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from gateway.admission.api_keys import ANYBODY, Principal
from gateway.config.snapshot import MemoryPart, MemoryShares, ShadowStatus, TaskStatus, VersionStatus
from gateway.metrics.counters import Metrics
from gateway.metrics.exposition import Buckets
from gateway.ui.overview import MOST_TASKS, counts_of, engines_of, memory_of, models_of, pipelines_of
from gateway.ui.visible import Sight
from tests.support.stack import config_of, snapshot_of

ALL = Sight(ANYBODY)
USER = Sight(Principal("user", frozenset({"naming"})))


def test_versions_have_their_facts_and_their_source_for_who_answers_for_them(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    version = VersionStatus("naming@bbbbbbbbbbbb", 90.0, rank=16, size_bytes=9, source="/srv/x", reason="why")
    task = TaskStatus({}, [version], "naming@a", ShadowStatus("naming@c", 0.1))
    snapshot = msgspec.structs.replace(snapshot_of(config, state="ready"), tasks={"naming": task})
    shown: Any
    (shown,), count = models_of(config, snapshot, ALL, "nam")
    assert count == 1
    assert shown["shadow"] == {"id": "naming@c", "share": 0.1}
    (of_it,) = shown["versions"]
    assert of_it["source"] == "/srv/x"
    assert of_it["loaded_on"] == ["engine-0"]
    (shown,), _ = models_of(config, snapshot, USER, "")
    (of_it,) = shown["versions"]
    assert (of_it["source"], of_it["reason"], of_it["rank"]) == ("", "", 16)
    assert models_of(config, snapshot, ALL, "other") == ([], 0)


def test_thousands_of_tasks_make_no_document_of_thousands(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    tasks = {f"task-{number:04}": TaskStatus() for number in range(MOST_TASKS + 50)}
    snapshot = msgspec.structs.replace(snapshot_of(config), tasks=tasks)
    shown, count = models_of(config, snapshot, ALL, "")
    assert (len(shown), count) == (MOST_TASKS, MOST_TASKS + 50)
    assert [one["name"] for one in models_of(config, snapshot, ALL, "0249")[0]] == ["task-0249"]


def test_engines_tell_a_user_nothing_of_others_adapters(tmp_path: Path) -> None:
    stage = "proving concept@aaaaaaaaaaaa"
    snapshot = snapshot_of(
        config_of(tmp_path), state="starting", stage=stage, loaded=["naming@b", "concept@a"]
    )
    (engine,) = engines_of(snapshot, USER)
    assert (engine["stage"], engine["loaded"]) == ("proving an adapter", ["naming@b"])
    assert engines_of(snapshot, ALL)[0]["stage"] == stage


def test_memory_is_the_plan_with_each_adapter_that_is_loaded(tmp_path: Path) -> None:
    snapshot = snapshot_of(config_of(tmp_path), state="ready")
    assert memory_of(snapshot, ALL) is None
    shares = MemoryShares(False, 100, 40, [MemoryPart("base weights", 50)])
    tasks = {
        "naming": TaskStatus(
            {}, [VersionStatus("naming@bbbbbbbbbbbb", size_bytes=9), VersionStatus("naming@c")]
        )
    }
    planned = msgspec.structs.replace(snapshot, memory=shares, tasks=tasks)
    shown = memory_of(planned, ALL)
    assert shown is not None
    assert shown["parts"] == [{"name": "base weights", "bytes": 50}]
    assert shown["adapters"] == [{"name": "naming@bbbbbbbbbbbb", "bytes": 9}]
    assert memory_of(planned, USER) is None


def test_pipelines_have_their_stages_for_who_may_call_them(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    (shown,) = pipelines_of(config, ALL)
    assert [stage["id"] for stage in shown["stages"]] == ["extract", "name"]  # type: ignore[attr-defined]
    assert pipelines_of(config, USER) == []


def test_counts_are_added_up_by_model_and_by_version() -> None:
    metrics = Metrics.single()
    for adapter, first_token_s in (("naming@a", 0.2), ("naming@b", None)):
        series = metrics.series["naming", adapter, "client"]
        series.enter()
        series.finished(200, 1.0, 0.1, first_token_s, 5, 7)
    series.finished(400, 1.0, 0.1, None, 0, 0)  # the engine's own refusal
    series.cancelled(1.0, 0)
    metrics.refused("naming", "rate_limit_exceeded", 429)
    metrics.refused("concept", "overloaded", 503)
    metrics.waiting("naming", 1)
    counts = counts_of(metrics.sums(), ALL, Buckets())
    models = counts["models"]
    assert isinstance(models, dict)
    naming = models["naming"]
    assert (naming["requests"], naming["in_flight"], naming["waiting"], naming["errors"]) == (5, 2, 1, 2)
    assert (naming["first_tokens"], naming["first_token_s"], naming["completion_tokens"]) == (1, 0.2, 14)
    assert (models["naming@a"]["requests"], models["naming@b"]["requests"]) == (1, 3)
    assert counts["errors"] == {"naming": {"rate_limit_exceeded": 1}, "concept": {"overloaded": 1}}
    of_user = counts_of(metrics.sums(), USER, Buckets())
    assert "concept" not in str(of_user)
