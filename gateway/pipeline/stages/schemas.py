"""Schema templates: `{"$from": "terms"}` and `{"$count": "terms"}` stand for values of one request."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pydantic import JsonValue

from gateway.config.document import JsonObject
from gateway.errors import ConfigError

FROM = "$from"
COUNT = "$count"
ROOTS = ("terms", "input", "item", "stages")


def check_schema(key: str, schema: JsonObject, earlier: list[str], *, per_item: bool) -> frozenset[str]:
    """Check the references of a schema; the earlier stages that it reads. Raises ConfigError."""
    needs: set[str] = set()
    for path in _references(key, schema):
        root, _, rest = path.partition(".")
        if root not in ROOTS or (root == "item" and not per_item):
            known = ", ".join(name for name in ROOTS if name != "item" or per_item)
            raise ConfigError(key, path, f"start the reference with one of: {known}")
        if root == "stages":
            stage = rest.partition(".")[0]
            if stage not in earlier:
                known = ", ".join(earlier) or "none"
                raise ConfigError(key, path, f"is no earlier stage (earlier stages: {known})")
            needs.add(stage)
    return frozenset(needs)


def _references(key: str, node: JsonValue) -> Iterator[str]:
    if isinstance(node, list):
        for child in node:
            yield from _references(key, child)
    elif isinstance(node, dict):
        for word in (FROM, COUNT):
            path = node.get(word)
            if word not in node:
                continue
            if len(node) != 1 or not isinstance(path, str):
                raise ConfigError(
                    key, word, f'stands alone in its object and names a value: {{"{word}": "terms"}}'
                )
            yield path
        for child in node.values():
            yield from _references(key, child)


def fill_schema(schema: JsonObject, values: Mapping[str, object]) -> JsonObject:
    """The schema for one request.

    `{"$from": path}` becomes the list of the distinct plain values found there: as the list itself under
    `enum`, elsewhere as `{"enum": [...]}`. Where there is none, any string is allowed. `{"$count": path}`
    becomes that list's length; where it would be 0, the keyword is left out.
    """
    filled = _fill_object(schema, values)
    return filled if isinstance(filled, dict) else {}


def _fill_object(node: dict[str, JsonValue], values: Mapping[str, object]) -> JsonValue:
    if FROM in node:
        found = _plain_values(str(node[FROM]), values)
        return {"enum": found} if found else {"type": "string"}
    filled: dict[str, JsonValue] = {}
    for key, child in node.items():
        if isinstance(child, dict) and COUNT in child:
            count = len(_plain_values(str(child[COUNT]), values))
            if count:
                filled[key] = count
        elif key == "enum" and isinstance(child, dict) and FROM in child:
            found = _plain_values(str(child[FROM]), values)
            if found:
                filled[key] = found
            else:
                filled.setdefault("type", "string")
        else:
            filled[key] = _fill(child, values)
    return filled


def _fill(node: JsonValue, values: Mapping[str, object]) -> JsonValue:
    if isinstance(node, dict):
        return _fill_object(node, values)
    if isinstance(node, list):
        return [_fill(child, values) for child in node]
    return node


def _plain_values(path: str, values: Mapping[str, object]) -> list[JsonValue]:
    """The distinct strings, numbers and booleans of the list at a dotted path; of `terms`, their names."""
    found: object = values
    for name in path.split("."):
        if isinstance(found, Mapping):
            found = found.get(name)
        elif isinstance(found, list):  # a list of objects: the field of each
            found = [element.get(name) for element in found if isinstance(element, Mapping)]
        else:
            return []
    if path == "terms" and isinstance(found, list):
        found = [element.get("term") for element in found if isinstance(element, Mapping)]
    # By type too: True equals 1 in Python, and not in JSON.
    kept: dict[tuple[type, object], JsonValue] = {}
    for element in found if isinstance(found, list) else [found]:
        if isinstance(element, (str, int, float)):
            kept.setdefault((type(element), element), element)
    return list(kept.values())
