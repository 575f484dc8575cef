"""What the gateway knows of a model, from its `/health`, `/v1/models` and `/metrics`. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypedDict

from gateway.client.model_list import Catalogue

_SAMPLE = re.compile(r"^lora_gateway_(\w+?)(?:_total)?\{([^}]*)\} (\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')


class ModelStatus(TypedDict):
    """Of one model, at one moment."""

    name: str
    kind: str
    """`base`, `task` or `pipeline`."""
    status: str
    """The engine's state (stopped, starting, ready, draining, sleeping, failed); for a task whose adapter
    the ready engine does not have, `not_loaded`."""
    stage: str
    """What an engine that starts is doing."""
    reason: str
    """Why it failed; empty too where the key may not know."""
    use_count: int
    """Requests answered since the gateway began, whoever asked; for the base those of every adapter too."""
    in_flight: int
    """Requests at the engine now."""
    adapters: list[str]
    """Loaded adapters; for a task itself alone."""
    active_adapters: list[str]
    """Of those, the ones with requests at the engine now."""
    memory_bytes: int | None
    """What the engine's processes held when it became ready: base, adapters and cache together. None where
    that is not known: the engine is not ready, somebody else runs it, or the key may not know."""
    memory_on: str
    """`gpu`, or `host` for main memory; empty where not known."""
    max_model_len: int | None


@dataclass(frozen=True)
class _Count:
    task: str
    adapter: str
    value: float


def status_of(name: str, catalogue: Catalogue, health: Mapping[str, Any], metrics: str) -> ModelStatus:
    """Raises AdapterNotLoaded for a name that the gateway does not have."""
    entry = catalogue.entries.get(name)
    if entry is None:
        entry = catalogue.model(name)  # the base under its other name, or an error
    whole = entry.kind == "base"
    engine = _best_engine(health)
    state = str(engine.get("state", "stopped"))
    if state == "ready" and entry.kind == "task" and not entry.loaded:
        state = "not_loaded"
    answered = _counts(metrics, "requests", {"status": "200"})
    running = _counts(metrics, "requests_in_flight", {})
    busy = {count.task for count in running if count.value > 0 and count.adapter}
    adapters = catalogue.adapters if entry.kind != "task" else [entry.id] if entry.loaded else []
    engines = [one for one in health.get("engines", ()) if one.get("memory_bytes")]
    return {
        "name": entry.id,
        "kind": entry.kind,
        "status": state,
        "stage": str(engine.get("stage") or ""),
        "reason": str(engine.get("reason") or ""),
        "use_count": _sum(answered, None if whole else entry.id),
        "in_flight": _sum(running, None if whole else entry.id),
        "adapters": adapters,
        "active_adapters": [adapter for adapter in adapters if adapter in busy],
        "memory_bytes": sum(one["memory_bytes"] for one in engines) or None,
        "memory_on": next((str(one["memory_on"]) for one in engines), ""),
        "max_model_len": entry.max_model_len,
    }


def _best_engine(health: Mapping[str, Any]) -> Mapping[str, Any]:
    """Of several engines, one that is ready; else the first."""
    engines = health.get("engines") or [{}]
    return next((one for one in engines if one.get("state") == "ready"), engines[0])


def _sum(counts: list[_Count], task: str | None) -> int:
    """Of one model; of all that went to the engine for None: a pipeline's own record has no adapter."""
    return int(sum(c.value for c in counts if (c.task == task if task is not None else bool(c.adapter))))


def _counts(metrics: str, name: str, wanted: Mapping[str, str]) -> list[_Count]:
    found = []
    for match in _SAMPLE.finditer(metrics):
        labels = dict(_LABEL.findall(match[2]))
        if match[1] == name and all(labels.get(key) == value for key, value in wanted.items()):
            found.append(_Count(labels.get("task", ""), labels.get("adapter", ""), float(match[3])))
    return found
