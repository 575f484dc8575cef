"""What the page shows at a glance, as one document: pure, on the snapshot and on what was counted."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.config.document import Config
from gateway.config.snapshot import EngineStatus, Snapshot, VersionStatus
from gateway.metrics.counters import CLIENT_LEFT
from gateway.metrics.exposition import (
    BATCHES,
    CANCELLED,
    COMPLETION_TOKENS,
    ERROR,
    FIRST_TOKEN_SUM,
    GAUGE,
    PROMPT_TOKENS,
    QUEUE_SUM,
    REQUEST_SUM,
    RESIDENT,
    SERIES,
    SHADOW,
    STATUS,
    WAITING,
    Buckets,
    Records,
)
from gateway.routing.availability import open_stage
from gateway.ui.visible import Sight

Document = dict[str, object]
MOST_TASKS = 200
"""In one document; the page looks others up by name."""


def engines_of(snapshot: Snapshot, sight: Sight) -> list[Document]:
    """Every engine; reasons and memory for whoever sees all."""
    return [_engine(engine, sight) for engine in snapshot.engines]


def _engine(engine: EngineStatus, sight: Sight) -> Document:
    shown: Document = {
        "name": engine.name,
        "state": engine.state,
        "stage": engine.stage if sight.reasons else open_stage(engine.stage),
        "started_at": engine.started_at,
        "load_s": engine.load_s,
        "slots": engine.slots,
        "managed": engine.managed,
        "loaded": [one for one in engine.loaded if sight.sees(one.rpartition("@")[0])],
    }
    if sight.reasons:
        shown |= {
            "reason": engine.reason,
            "restarts": engine.restarts,
            "next_try_at": engine.next_try_at,
            "memory_bytes": engine.memory_bytes if engine.state in ("ready", "draining") else None,
            "memory_on": engine.memory_on,
        }
    return shown


def memory_of(snapshot: Snapshot, sight: Sight) -> Document | None:
    """What an engine was planned to take, with each adapter that is loaded; None where that is not shown."""
    planned = snapshot.memory
    if planned is None or not sight.reasons:
        return None
    loaded = {one for engine in snapshot.engines for one in engine.loaded}
    adapters = [
        {"name": version.id, "bytes": version.size_bytes}
        for task in snapshot.tasks.values()
        for version in task.versions
        if version.id in loaded
    ]
    return {
        "gpu": planned.gpu,
        "total_bytes": planned.total_bytes,
        "headroom_bytes": planned.headroom_bytes,
        "parts": [{"name": part.name, "bytes": part.size_bytes} for part in planned.parts],
        "adapters": adapters,
    }


def models_of(config: Config, snapshot: Snapshot, sight: Sight, find: str) -> tuple[list[Document], int]:
    """Tasks with their versions, whose names hold `find`, and how many there are in all."""
    names = sorted(name for name in snapshot.tasks if sight.sees(name) and find in name)
    return [_task(name, config, snapshot, sight) for name in names[:MOST_TASKS]], len(names)


def _task(name: str, config: Config, snapshot: Snapshot, sight: Sight) -> Document:
    task, known = snapshot.tasks[name], config.tasks.get(name)
    return {
        "name": name,
        "description": known.description if known else "",
        "schema": known is not None and known.schema_ is not None,
        "fallback": known.fallback.model if known and known.fallback and sight.rules(name) else None,
        "versions": [_version(version, snapshot, sight.rules(name)) for version in task.versions],
        "previous": task.previous,
        "shadow": None if task.shadow is None else {"id": task.shadow.id, "share": task.shadow.share},
        "configured": task.configured,
        "rules": sight.rules(name),
    }


def _version(version: VersionStatus, snapshot: Snapshot, rules: bool) -> Document:
    return {
        "id": version.id,
        "weight": version.weight,
        "state": version.state,
        "reason": version.reason if rules else "",
        "rank": version.rank,
        "size_bytes": version.size_bytes,
        "source": version.source if rules else "",
        "added_at": version.added_at,
        "fingerprint": version.fingerprint,
        "loaded_on": [engine.name for engine in snapshot.engines if version.id in engine.loaded],
    }


def pipelines_of(config: Config, sight: Sight) -> list[Document]:
    """Each with its stages, in the order in which they are declared."""
    return [
        {
            "name": name,
            "description": pipeline.description,
            "stages": [
                {"id": stage.id, "task": stage.task, "for_each": stage.for_each, "into": stage.into}
                for stage in pipeline.stages
            ],
        }
        for name, pipeline in config.pipelines.items()
        if sight.sees(name)
    ]


def counts_of(sums: Mapping[str, Records], sight: Sight, buckets: Buckets) -> Document:
    """What was counted since the start, by model; the page makes rates of two of these."""
    by_model: dict[str, dict[str, float]] = {}
    errors: dict[str, dict[str, float]] = {}

    def add(model: str, field: str, value: float) -> None:
        counts = by_model.setdefault(model, {})
        counts[field] = counts.get(field, 0.0) + value

    first_at, bounds = buckets.first_token_at, len(buckets.first_token_s) + 1
    for (task, _, _), cells in sums.get(SERIES, []):
        add(task, "in_flight", cells[GAUGE])
        add(task, "cancelled", cells[CANCELLED])
        add(task, "prompt_tokens", cells[PROMPT_TOKENS])
        add(task, "completion_tokens", cells[COMPLETION_TOKENS])
        add(task, "queue_s", cells[QUEUE_SUM])
        add(task, "total_s", cells[REQUEST_SUM])
        add(task, "first_token_s", cells[FIRST_TOKEN_SUM])
        add(task, "first_tokens", sum(cells[first_at : first_at + bounds]))
    for (task, adapter, _, status), cells in sums.get(STATUS, []):
        add(task, "requests", cells[0])
        if adapter:
            add(adapter, "requests", cells[0])
        if status >= "400" and status != str(CLIENT_LEFT):  # an engine's own refusals have no code of ours
            add(task, "errors", cells[0])
    for (task, _, _, code), cells in sums.get(ERROR, []):
        if sight.sees(task):
            codes = errors.setdefault(task, {})
            codes[code] = codes.get(code, 0.0) + cells[0]
    for (task,), cells in sums.get(WAITING, []):
        add(task, "waiting", cells[GAUGE])
    seen = {name: counts for name, counts in by_model.items() if sight.sees(name.partition("@")[0])}
    resident = {adapter: cells[GAUGE] for (adapter,), cells in sums.get(RESIDENT, []) if cells[GAUGE]}
    shadow: dict[str, dict[str, float]] = {}
    for (task, candidate, outcome), cells in sums.get(SHADOW, []):
        if sight.rules(task):
            shadow.setdefault(candidate, {})[outcome] = cells[0]
    return {
        "models": seen,
        "errors": errors,
        "resident": {name: count for name, count in resident.items() if sight.sees(name.partition("@")[0])},
        "shadow": shadow,
        "batches": {what: cells[GAUGE] for (what,), cells in sums.get(BATCHES, [])}
        if sight.everything
        else {},
    }
