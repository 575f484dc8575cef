"""What a stage's `partition` and `distinct` say, checked at start."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import JsonValue

from gateway.config.document import JsonObject, StageConfig
from gateway.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Terms:
    """Which list of a stage's answer has every term of the input in exactly one element."""

    field: str
    members: str
    """An element's own list of them."""
    most: int
    """Elements that there may be."""


def terms_of(key: str, given: StageConfig, schema: JsonObject | None, max_items: int) -> Terms | None:
    """What `partition` says. Raises ConfigError where the stage's schema does not show such lists."""
    if given.partition is None:
        return None
    key, said = f"{key}.partition", given.partition
    field, _, members = said.partition(".")
    if given.for_each is not None:
        raise ConfigError(key, said, "stands in the stage that writes the list, not in one over its elements")
    if not field or not members or "." in members:
        raise ConfigError(key, said, "write <list>.<members>, such as concepts.members")
    listed = _property(schema, field)
    items = listed.get("items")
    if _property(items, members).get("type") != "array":
        mend = f"the stage's schema shows no list '{field}' of objects with a list '{members}'"
        raise ConfigError(key, said, mend)
    most = listed.get("maxItems")
    return Terms(field, members, min(most, max_items) if isinstance(most, int) else max_items)


def check_distinct(key: str, given: StageConfig, schema: JsonObject | None) -> None:
    """Raises ConfigError where there are no texts to be told apart."""
    if given.distinct and (given.for_each is None or schema is not None):
        raise ConfigError(f"{key}.distinct", "true", "is for a stage with for_each that answers in text")


def _property(schema: JsonValue, name: str) -> JsonObject:
    properties = schema.get("properties") if isinstance(schema, dict) else None
    found = properties.get(name) if isinstance(properties, dict) else None
    return found if isinstance(found, dict) else {}
