"""The configuration with what a snapshot of the control plane changes in it: tasks, pipelines, keys."""

from __future__ import annotations

from pydantic import JsonValue, ValidationError

from gateway.config.document import Config, JsonObject
from gateway.config.snapshot import Snapshot


def with_snapshot(config: Config, snapshot: Snapshot, *, heard: bool) -> Config:
    """Tasks, pipelines and keys as the control plane has them. Raises ValidationError.

    `heard`: it came over the socket. A file may be older than the configuration that was read at the start,
    so that keys are not taken from it: one that was revoked would be good again.
    """
    document = config.model_dump(mode="json", by_alias=True)
    document["tasks"] = {name: task.settings for name, task in snapshot.tasks.items()}
    document["pipelines"] = snapshot.pipelines
    models = {config.base.name, *snapshot.tasks, *snapshot.pipelines}
    document["keys"] = snapshot.keys if heard else _known_models(document["keys"], models)
    return Config.model_validate(document)


def without_values(error: ValidationError) -> str:
    """What is wrong, where; a value may be a key that was given by mistake."""
    found = error.errors(include_url=False, include_input=False)
    return "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in found)


def _known_models(keys: dict[str, JsonObject], models: set[str]) -> dict[str, JsonObject]:
    """Keys without the models that there are none of any more; one left with none may call nothing."""
    known: dict[str, JsonObject] = {}
    for name, key in keys.items():
        tasks = key.get("tasks")
        permitted: JsonValue = [one for one in tasks if one in models] if isinstance(tasks, list) else None
        known[name] = {**key, "tasks": permitted}
    return known
