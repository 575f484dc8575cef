"""What a gateway serves, from its `/v1/models`. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from gateway.client.errors import AdapterNotLoaded, InvalidArgument

BASE = "base"
"""Means the base model whatever its public name is."""


@dataclass(frozen=True)
class Entry:
    """One public model name, of what kind it is and whether it is loaded."""

    id: str
    kind: str
    """`base`, `task` or `pipeline`."""
    loaded: bool
    schema: Mapping[str, Any] | None = None
    """A task's own, as its answers are checked against it."""
    max_model_len: int | None = None


@dataclass(frozen=True)
class Catalogue:
    """Every model that the key may call, in the configuration's order."""

    entries: Mapping[str, Entry]

    @property
    def base(self) -> Entry | None:
        return next((one for one in self.entries.values() if one.kind == "base"), None)

    @property
    def adapters(self) -> list[str]:
        """Tasks whose adapters are loaded."""
        return [one.id for one in self.entries.values() if one.kind == "task" and one.loaded]

    def model(self, name: str) -> Entry:
        """The entry of a name. Raises AdapterNotLoaded for an unknown one, or a task that is not loaded."""
        entry = self.entries.get(name) or self._version(name)
        if entry is None and name == BASE:
            entry = self.base
        if entry is None:
            usable = [one.id for one in self.entries.values() if one.loaded or one.kind == "pipeline"]
            raise AdapterNotLoaded(name, usable)
        cold = self.base is None or not self.base.loaded  # then a request starts the engine, or waits for it
        if entry.kind == "task" and not entry.loaded and not cold:
            raise AdapterNotLoaded(name, self.adapters, known=True)
        return entry

    def _version(self, name: str) -> Entry | None:
        """A task's, by the id that answers carry; whether it is loaded the gateway says when it is asked."""
        task = self.entries.get(name.partition("@")[0])
        return replace(task, id=name) if "@" in name and task is not None and task.kind == "task" else None

    def adapter(self, name: str) -> Entry:
        """A task, or the base for its name. Raises AdapterNotLoaded, InvalidArgument."""
        if name in self.entries and self.entries[name].kind == "pipeline":
            raise InvalidArgument("set_lora_adapter", f"'{name}' is a pipeline; use_model('{name}') calls it")
        if name not in self.entries and name != BASE and self._version(name) is None:
            raise AdapterNotLoaded(name, self.adapters)
        return self.model(name)


def catalogue_of(document: object) -> Catalogue:
    """Raises ValueError where it is no list of models."""
    try:
        entries = [_entry(one) for one in document["data"]]  # type: ignore[index]  # checked by trying
    except (LookupError, TypeError, AttributeError):
        raise ValueError("its /v1/models lists no models") from None
    return Catalogue({entry.id: entry for entry in entries})


def _entry(one: Mapping[str, Any]) -> Entry:
    kind = one.get("kind") or ("task" if one.get("parent") else "base")
    schema = one.get("schema")
    return Entry(
        str(one["id"]),
        str(kind),
        one.get("root") is not None,
        schema if isinstance(schema, Mapping) else None,
        one.get("max_model_len"),
    )
