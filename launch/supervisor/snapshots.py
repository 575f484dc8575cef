"""The snapshot that gateways get, made of what is wanted and what the engines have. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import msgspec
from pydantic import BaseModel

from gateway.config.document import JsonObject, KeyConfig
from gateway.config.live import known_models
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
from launch.supervisor.desired_state import DesiredState


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
    version: int,
    desired_state: DesiredState,
    observed: Observed,
    issued: Mapping[str, KeyConfig] = MappingProxyType({}),
) -> Snapshot:
    """Everything a gateway needs, at one moment."""
    config, desired = desired_state.config, desired_state.desired
    loaded = set[str]().union(*(engine.loaded for engine in observed.engines))
    pipelines = {
        name: document
        for name, document in _documents(config.pipelines).items()
        if name not in desired  # a command has added a task of that name, and wins
        and all(one.task in desired or one.task == config.base.name for one in config.pipelines[name].stages)
    }
    models = {config.base.name, *desired, *pipelines}
    return Snapshot(
        version=version,
        base=config.base.name,
        engines=list(observed.engines),
        tasks={name: _task(wanted, desired_state, observed, loaded) for name, wanted in desired.items()},
        pipelines=pipelines,
        keys=known_models(_documents(config.keys), models),
        issued_keys=known_models(_documents(issued), models),
        tenants=_documents(config.tenants),
        retiring=sorted(observed.retiring),
        operations=list(observed.operations),
        memory=observed.memory,
        leader=observed.leader,
        faults=dict(observed.faults),
    )


def _documents(sections: Mapping[str, BaseModel]) -> dict[str, JsonObject]:
    return {name: one.model_dump(mode="json", by_alias=True) for name, one in sections.items()}


def _task(
    wanted: Wanted, desired_state: DesiredState, observed: Observed, loaded: Collection[str]
) -> TaskStatus:
    active = wanted.active
    settings = desired_state.settings(wanted.name, active)
    if active is not None:
        settings = {**settings, "adapter": active.path}
    return TaskStatus(
        settings=settings,
        versions=[_version(version, observed, version.id in loaded) for version in wanted.versions],
        previous=wanted.previous,
        shadow=ShadowStatus(wanted.shadow, wanted.shadow_share) if wanted.shadow else None,
        configured=wanted.name in desired_state.configured,
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
