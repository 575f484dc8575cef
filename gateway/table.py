"""Model name → route: an immutable snapshot, swapped whole. Nothing here does I/O."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import msgspec

from gateway.config import Config, JsonObject
from gateway.errors import ModelNotFound


@dataclass(frozen=True, slots=True)
class Contract:
    """What a task adds to a request where the client gave nothing; values are ready JSON."""

    system_message: bytes | None
    defaults: Mapping[str, msgspec.Raw]
    response_format: msgspec.Raw | None


@dataclass(frozen=True, slots=True)
class Route:
    """Where one public model name leads."""

    name: str
    kind: str
    """`base`, `task` or `pipeline`."""
    contract: Contract
    adapter_id: str | None
    """The engine's name of the adapter, or of the base; None for a pipeline or while it is not loaded."""
    description: str = ""
    model_json: msgspec.Raw = field(default_factory=lambda: msgspec.Raw(b"null"))
    name_bytes: bytes = b""
    adapter_bytes: bytes = b""


@dataclass(frozen=True, slots=True)
class Table:
    """Every route of one moment."""

    routes: Mapping[str, Route]

    def find(self, name: str, shown: Container[str] | None = None) -> Route:
        """The route of a public name. Raises ModelNotFound, which lists only names in `shown` where given."""
        route = self.routes.get(name)
        if route is None:
            raise ModelNotFound.naming(name, [key for key in self.routes if shown is None or key in shown])
        return route


def response_format(name: str, schema: JsonObject) -> JsonObject:
    """OpenAI's structured output parameter for a JSON schema."""
    return {"type": "json_schema", "json_schema": {"name": name, "schema": schema, "strict": True}}


def build_table(config: Config, ids: Mapping[str, str]) -> Table:
    """The table for a configuration; `ids` maps base and tasks to the engine's names, where loaded."""
    base = config.base.name
    routes = {base: _route(base, "base", Contract(None, MappingProxyType({}), None), ids.get(base))}
    for name, task in config.tasks.items():
        system = None
        if task.system is not None:
            system = msgspec.json.encode({"role": "system", "content": task.system})
        contract = Contract(
            system_message=system,
            defaults={key: msgspec.Raw(msgspec.json.encode(value)) for key, value in task.defaults.items()},
            response_format=None
            if task.schema_ is None
            else msgspec.Raw(msgspec.json.encode(response_format(name, task.schema_))),
        )
        routes[name] = _route(name, "task", contract, ids.get(name), task.description)
    for name, pipeline in config.pipelines.items():
        empty = Contract(None, MappingProxyType({}), None)
        routes[name] = _route(name, "pipeline", empty, None, pipeline.description)
    return Table(MappingProxyType(routes))


def _route(name: str, kind: str, contract: Contract, adapter_id: str | None, about: str = "") -> Route:
    model = msgspec.Raw(msgspec.json.encode(adapter_id))
    return Route(name, kind, contract, adapter_id, about, model, name.encode(), (adapter_id or "").encode())
