"""The configuration with what a snapshot of the control plane changes in it."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from pydantic import JsonValue, ValidationError

from gateway.config.document import Config, JsonObject
from gateway.config.key_settings import is_pattern
from gateway.config.snapshot import Snapshot


def with_snapshot(config: Config, snapshot: Snapshot, *, heard: bool) -> Config:
    """Tasks, pipelines, keys and tenants as the control plane has them. Raises ValidationError.

    `heard`: it came over the socket. A file may be older than the configuration that was read at the start,
    so that the configuration's keys are not taken from it: one that was revoked would be good again. Those
    that commands made stand nowhere else.
    """
    # In JSON's types, which the snapshot's parts are of: all of it is checked together.
    document = config.model_dump(mode="json", by_alias=True, exclude={"tasks", "pipelines"})
    document["tasks"] = {name: task.settings for name, task in snapshot.tasks.items()}
    document["pipelines"] = snapshot.pipelines
    if heard and snapshot.tenants is not None:
        document["tenants"] = snapshot.tenants
    models = {config.base.name, *snapshot.tasks, *snapshot.pipelines}
    keys = snapshot.keys if heard else known_models(document["keys"], models)
    document["keys"] = {**usable(snapshot.issued_keys, keys), **keys}
    return Config.model_validate(document)


def usable(issued: Mapping[str, JsonObject], configured: Mapping[str, JsonObject]) -> dict[str, JsonObject]:
    """Keys that commands made, without those whose name or digest the configuration has too: it wins."""
    digests = {digest for key in configured.values() for digest in _digests(key)}
    return {
        name: key
        for name, key in issued.items()
        if name not in configured and not digests.intersection(_digests(key))
    }


def _digests(key: JsonObject) -> list[str]:
    return [str(key[one]) for one in ("sha256", "previous_sha256") if key.get(one)]


def without_values(error: ValidationError) -> str:
    """What is wrong, where; a value may be a key that was given by mistake."""
    found = error.errors(include_url=False, include_input=False)
    return "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in found)


def known_models(keys: Mapping[str, JsonObject], models: Collection[str]) -> dict[str, JsonObject]:
    """Keys without the models that there are none of any more, as where a command removed a task; one left
    with none may call nothing.
    """
    known: dict[str, JsonObject] = {}
    for name, key in keys.items():
        tasks = key.get("tasks")
        permitted: JsonValue = None
        if isinstance(tasks, list):
            permitted = [one for one in tasks if one in models or is_pattern(str(one))]
        known[name] = {**key, "tasks": permitted}
    return known
