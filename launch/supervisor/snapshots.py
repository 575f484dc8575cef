"""The snapshot that gateways get, made of what is wanted and what the engines have. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from gateway.config.document import JsonObject, KeyConfig
from gateway.config.key_settings import is_pattern
from gateway.config.snapshot import (
    EngineStatus,
    MemoryShares,
    Operation,
    ShadowStatus,
    Snapshot,
    TaskStatus,
    VersionStatus,
)
from launch.adapters.versions import Version, Wanted
from launch.supervisor.desired_state import Ledger


@dataclass(frozen=True)
class Observed:
    """What the engines have, and what is under way."""

    engines: Sequence[EngineStatus]
    failures: Mapping[str, str]
    """Ids that could not be loaded or proven, with the reason."""
    fingerprints: Mapping[str, str]
    retiring: Collection[str]
    operations: Sequence[Operation]
    faults: Mapping[str, int]
    memory: MemoryShares | None = None


def compose(
    version: int, ledger: Ledger, observed: Observed, issued: Mapping[str, KeyConfig] = MappingProxyType({})
) -> Snapshot:
    """Everything a gateway needs, at one moment."""
    config, desired = ledger.config, ledger.desired
    models = {config.base.name, *desired, *config.pipelines}
    return Snapshot(
        version=version,
        base=config.base.name,
        engines=list(observed.engines),
        tasks={name: _task(wanted, ledger, observed) for name, wanted in desired.items()},
        pipelines={
            name: pipeline.model_dump(mode="json", by_alias=True)
            for name, pipeline in config.pipelines.items()
            if all(stage.task in desired or stage.task == config.base.name for stage in pipeline.stages)
        },
        keys=_keys(config.keys, models),
        issued_keys=_keys(issued, models),
        retiring=sorted(observed.retiring),
        operations=list(observed.operations),
        memory=observed.memory,
        faults=dict(observed.faults),
    )


def _keys(keys: Mapping[str, KeyConfig], models: Collection[str]) -> dict[str, JsonObject]:
    """A key's list may name a task that a command removed, which is no model any more."""
    shown: dict[str, JsonObject] = {}
    for name, key in keys.items():
        permitted = None
        if key.tasks is not None:
            permitted = [task for task in key.tasks if task in models or is_pattern(task)]
        shown[name] = key.model_copy(update={"tasks": permitted}).model_dump(mode="json", by_alias=True)
    return shown


def _task(wanted: Wanted, ledger: Ledger, observed: Observed) -> TaskStatus:
    settings = ledger.settings(wanted.name)
    active = wanted.active
    if active is not None:
        settings = {**settings, "adapter": active.path}
    return TaskStatus(
        settings=settings,
        versions=[_version(version, observed) for version in wanted.versions],
        previous=wanted.previous,
        shadow=ShadowStatus(wanted.shadow, wanted.shadow_share) if wanted.shadow else None,
        configured=wanted.name in ledger.configured,
    )


def _version(version: Version, observed: Observed) -> VersionStatus:
    loaded = any(version.id in engine.loaded for engine in observed.engines)
    reason = "" if loaded else observed.failures.get(version.id, "")
    return VersionStatus(
        id=version.id,
        weight=version.weight,
        state="failed" if reason else "ready" if loaded else "pending",
        reason=reason,
        rank=version.rank,
        size_bytes=version.size_bytes,
        source=version.source,
        added_at=version.added_at,
        fingerprint=observed.fingerprints.get(version.id, ""),
    )
