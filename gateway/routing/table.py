"""Model name → route: an immutable snapshot, swapped whole. Nothing here does I/O."""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import msgspec
from pydantic import JsonValue

from gateway.config.document import Config, FallbackConfig, JsonObject, TaskConfig
from gateway.config.snapshot import Snapshot
from gateway.errors import ModelNotFound
from gateway.http.request_cycle import header_lines


@dataclass(frozen=True, slots=True)
class Contract:
    """What a task adds to a request where the client gave nothing; values are ready JSON."""

    system_message: bytes | None
    defaults: Mapping[str, msgspec.Raw]
    response_format: msgspec.Raw | None
    system: msgspec.Raw | None = None
    """The system prompt's text alone."""
    schema: msgspec.Raw | None = None
    """The answer's schema alone."""
    fallback: FallbackConfig | None = None
    """Who answers where the engine cannot; None also where its policy is never."""


@dataclass(frozen=True, slots=True)
class Route:
    """Where one public model name leads."""

    name: str
    kind: str
    """`base`, `task` or `pipeline`."""
    contract: Contract
    adapter_id: str | None
    """The engine's name of the adapter, or of the base; None for a pipeline or while no engine has it."""
    description: str = ""
    model_json: msgspec.Raw = field(default_factory=lambda: msgspec.Raw(b"null"))
    name_bytes: bytes = b""
    adapter_bytes: bytes = b""
    versions: tuple[tuple[float, Route], ...] = ()
    """Where several adapters answer for the task: each one's weight, and its own route."""
    reason: str = ""
    """Why there is no `adapter_id`, where that is known."""
    header_block: bytes = field(init=False, repr=False)
    """Of each answer, whole lines: who answered."""

    def __post_init__(self) -> None:
        # Written once for each route, not for each answer (design 142).
        told = [(b"x-gateway-task", self.name_bytes), (b"x-gateway-adapter", self.adapter_bytes)]
        object.__setattr__(self, "header_block", header_lines(told))

    def pick(self, sticky: bytes | None) -> Route:
        """The version for a request: the same for the same `sticky` as long as weights stay, else by chance.

        The smallest of `-ln(u) / weight` wins, where u is a point that hangs on version and `sticky` alone
        (weighted rendezvous hashing). So a version that is given more weight only wins requests, one that is
        given less only loses some, and whatever a version's neighbours do among themselves does not move its
        own; and it is other clients who try the next candidate first.
        """
        if not self.versions:
            return self
        if sticky is None:
            return random.choices(
                [route for _, route in self.versions], [weight for weight, _ in self.versions]
            )[0]
        _, chosen = min(
            self.versions, key=lambda one: -math.log(point_of(one[1].adapter_bytes, sticky)) / one[0]
        )
        return chosen


def point_of(version: bytes, sticky: bytes) -> float:
    """A point in (0, 1] that depends on an adapter's id and `sticky` alone."""
    digest = hashlib.blake2b(version + b"\0" + sticky, digest_size=8).digest()
    return (int.from_bytes(digest) + 1) / 2**64


@dataclass(frozen=True, slots=True)
class Loaded:
    """An adapter that some engine serves now; `weight`, over 0, is relative to the task's others."""

    id: str
    weight: float = 100.0


@dataclass(frozen=True, slots=True)
class Table:
    """Every route of one moment."""

    routes: Mapping[str, Route]
    pinned: Mapping[str, Route] = field(default_factory=lambda: MappingProxyType({}))
    """By an adapter's id, as answers name it: its task's route, to this version alone."""
    tenants: frozenset[str] = frozenset()
    """Those that there are; the names of their tasks are nobody else's to learn."""
    servable: frozenset[str] = frozenset()
    """Names that can be answered now: an adapter that is loaded, or a pipeline all of whose stages can be."""

    def get(self, name: str) -> Route | None:
        """The route of a public name or of a version."""
        return self.routes.get(name) or self.pinned.get(name)

    def find(self, name: str, shown: Container[str] | None = None) -> Route:
        """The route of a public name, or of a version that is loaded.

        Raises ModelNotFound, which lists only names in `shown` where given.
        """
        route = self.routes.get(name) or self.pinned.get(name)
        if route is None:
            task = task_of(name)
            if task != name and task in self.routes and (shown is None or task in shown):
                loaded = (one for one, route in self.pinned.items() if route.name == task)
                raise ModelNotFound.version(name, task, loaded)
            raise ModelNotFound.naming(name, [key for key in self.routes if shown is None or key in shown])
        return route


def task_of(name: str) -> str:
    """The task that a version's id begins with; no task's own name holds an `@`."""
    return name.partition("@")[0]


def response_format(name: str, schema: JsonObject) -> JsonObject:
    """OpenAI's structured output parameter for a JSON schema."""
    return {"type": "json_schema", "json_schema": {"name": name, "schema": schema, "strict": True}}


def build_table(
    config: Config,
    loaded: Mapping[str, Sequence[Loaded]],
    reasons: Mapping[str, str] | None = None,
    versions: Mapping[str, bool] | None = None,
) -> Table:
    """The table for a configuration; `loaded` has for base and tasks what answers for them now.

    `reasons` says for a task why nothing does. `versions` are the ids that may be asked for by themselves,
    and whether an engine has them.
    """
    base = config.base.name
    nothing = Contract(None, MappingProxyType({}), None)
    routes = {base: _routes(base, "base", nothing, loaded.get(base, ()))}
    why = reasons or {}
    for name, task in config.tasks.items():
        answering = loaded.get(name, ())
        contract = _contract(name, task)
        routes[name] = _routes(name, "task", contract, answering, task.description, why.get(name, ""))
    for name, pipeline in config.pipelines.items():
        routes[name] = _routes(name, "pipeline", nothing, (), pipeline.description)
    pinned: dict[str, Route] = {}
    for version, there in (versions or {}).items():
        of = routes.get(task_of(version))
        if of is not None and of.kind == "task":
            adapter_id = version if there else None
            pinned[version] = _route(of.name, "task", of.contract, adapter_id, of.description, of.reason)
    tenants = {*config.tenants, *(key.tenant for key in config.keys.values() if key.tenant)}
    servable = {name for name, route in {**pinned, **routes}.items() if route.adapter_id is not None}
    servable |= {
        name
        for name, pipeline in config.pipelines.items()
        if servable.issuperset(stage.task for stage in pipeline.stages)
    }
    return Table(MappingProxyType(routes), MappingProxyType(pinned), frozenset(tenants), frozenset(servable))


def _contract(name: str, task: TaskConfig) -> Contract:
    system, schema = task.system, task.schema_
    return Contract(
        system_message=None if system is None else msgspec.json.encode({"role": "system", "content": system}),
        defaults={key: _json(value) for key, value in task.defaults.items() if value is not None},
        response_format=None if schema is None else _json(response_format(name, schema)),
        system=None if system is None else _json(system),
        schema=None if schema is None else _json(schema),
        fallback=task.fallback if task.fallback is not None and task.fallback.when else None,
    )


def _json(value: JsonValue) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))


def _routes(
    name: str, kind: str, contract: Contract, loaded: Sequence[Loaded], about: str = "", reason: str = ""
) -> Route:
    """One route; of several versions the first, which carries them all."""
    if len(loaded) < 2:
        return _route(name, kind, contract, loaded[0].id if loaded else None, about, reason)
    versions = tuple((version.weight, _route(name, kind, contract, version.id, about)) for version in loaded)
    return replace(versions[0][1], versions=versions)


def _route(
    name: str, kind: str, contract: Contract, adapter_id: str | None, about: str = "", reason: str = ""
) -> Route:
    model = _json(adapter_id)
    adapter_bytes = (adapter_id or "").encode()
    return Route(name, kind, contract, adapter_id, about, model, name.encode(), adapter_bytes, (), reason)


def table_of(config: Config, snapshot: Snapshot, ready: Sequence[frozenset[str]]) -> Table:
    """The table of one snapshot; `ready` has for each engine that takes requests what is loaded there."""
    everything = frozenset[str]().union(*ready)
    base = config.base.name
    loaded: dict[str, list[Loaded]] = {base: [Loaded(base)]} if ready else {}
    reasons: dict[str, str] = {}
    for name, task in snapshot.tasks.items():
        if name not in config.tasks:
            continue  # of a configuration that was refused; it may be the base's name
        loaded[name] = [
            Loaded(version.id, version.weight)
            for version in task.versions  # the oldest first
            if version.weight > 0 and version.id in everything
        ]
        reasons[name] = next((version.reason for version in task.versions if version.reason), "")
    return build_table(config, loaded, reasons, _versions(snapshot, everything, bool(ready)))


def _versions(snapshot: Snapshot, loaded: frozenset[str], running: bool) -> dict[str, bool]:
    """The versions that may be asked for by their ids, and whether an engine has them.

    None that is to be unloaded: it would never be at rest. Also what an engine is to load, or would if one
    ran.
    """
    return {
        version.id: version.id in loaded
        for task in snapshot.tasks.values()
        for version in task.versions
        if version.id not in snapshot.retiring
        and (
            version.id in loaded or version.state == "loading" or (not running and version.state != "failed")
        )
    }
