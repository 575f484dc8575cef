"""The snapshot that gateways get, made of what is wanted and what the engines have. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import msgspec

from gateway.config.document import JsonObject, KeyConfig
from gateway.config.key_settings import is_pattern
from gateway.config.snapshot import (
    EngineStatus,
    MemoryShares,
    Operation,
    ShadowStatus,
    Snapshot,
    TaskStatus,
    VersionStateName,
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
    to_come: Collection[str] = ()
    """Ids that no engine has, and one is to have."""
    memory: MemoryShares | None = None
    leader: str = ""


def compose(
    version: int, ledger: Ledger, observed: Observed, issued: Mapping[str, KeyConfig] = MappingProxyType({})
) -> Snapshot:
    """Everything a gateway needs, at one moment."""
    config, desired = ledger.config, ledger.desired
    loaded = set[str]().union(*(engine.loaded for engine in observed.engines))
    models = {config.base.name, *desired, *config.pipelines}
    return Snapshot(
        version=version,
        base=config.base.name,
        engines=list(observed.engines),
        tasks={name: _task(wanted, ledger, observed, loaded) for name, wanted in desired.items()},
        pipelines={
            name: pipeline.model_dump(mode="json", by_alias=True)
            for name, pipeline in config.pipelines.items()
            if all(stage.task in desired or stage.task == config.base.name for stage in pipeline.stages)
        },
        keys=_keys(config.keys, models),
        issued_keys=_keys(issued, models),
        tenants={
            name: tenant.model_dump(mode="json", by_alias=True) for name, tenant in config.tenants.items()
        },
        retiring=sorted(observed.retiring),
        operations=list(observed.operations),
        memory=observed.memory,
        leader=observed.leader,
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


def _task(wanted: Wanted, ledger: Ledger, observed: Observed, loaded: Collection[str]) -> TaskStatus:
    settings = ledger.settings(wanted.name)
    active = wanted.active
    if active is not None:
        settings = {**settings, "adapter": active.path}
    return TaskStatus(
        settings=settings,
        versions=[_version(version, observed, version.id in loaded) for version in wanted.versions],
        previous=wanted.previous,
        shadow=ShadowStatus(wanted.shadow, wanted.shadow_share) if wanted.shadow else None,
        configured=wanted.name in ledger.configured,
    )


def _version(version: Version, observed: Observed, loaded: bool) -> VersionStatus:
    reason = "" if loaded else observed.failures.get(version.id, "")
    return VersionStatus(
        id=version.id,
        weight=version.weight,
        state=_state(version.id, loaded, reason, observed),
        reason=reason,
        rank=version.rank,
        size_bytes=version.size_bytes,
        source=version.source,
        added_at=version.added_at,
        fingerprint=observed.fingerprints.get(version.id, ""),
    )


def _state(adapter_id: str, loaded: bool, reason: str, observed: Observed) -> VersionStateName:
    if reason:
        return "failed"
    if adapter_id in observed.to_come:  # an engine that has it may still be starting
        return "loading"
    return "ready" if loaded else "pending"


def without_leaving(status: EngineStatus, leaving: Collection[str]) -> EngineStatus:
    """An engine, with what is about to be unloaded from it told apart from what it may be asked for."""
    gone = [one for one in status.loaded if one in leaving]
    if not gone:
        return status
    return msgspec.structs.replace(
        status, loaded=[one for one in status.loaded if one not in gone], leaving=gone
    )
