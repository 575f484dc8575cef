"""Whether every value that one JSON schema allows is allowed by another. Pure.

The answer is sound and not complete: what cannot be shown is denied. Of the inner schema a keyword that is
not understood is passed over, which allows more; of the outer one it is a demand that only the same keyword
meets. No pattern is run, since it is a client's, and the work is bounded.
"""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import JsonValue

from gateway.config.document import JsonObject
from gateway.dialects.tool_schemas import TYPES

MAX_STEPS = 20_000
MAX_DEPTH = 64
ANNOTATIONS = frozenset(
    {
        *("title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly"),
        *("$schema", "$id", "$comment", "$anchor", "$defs", "definitions"),
    }
)
AT_MOST = {"maxLength": "string", "maxItems": "array", "maximum": "number"}
AT_LEAST = {"minLength": "string", "minItems": "array", "minimum": "number"}
SUBJECT = {
    **dict.fromkeys(("properties", "required", "additionalProperties", "patternProperties"), "object"),
    **dict.fromkeys(("propertyNames", "minProperties", "maxProperties"), "object"),
    **dict.fromkeys(("items", "prefixItems", "uniqueItems", "contains"), "array"),
    **dict.fromkeys(("pattern", "format"), "string"),
    **dict.fromkeys(("multipleOf", "exclusiveMinimum", "exclusiveMaximum"), "number"),
    **AT_MOST,
    **AT_LEAST,
}
"""The type of which a keyword says something; it says nothing of values of another."""
ALONE = frozenset(
    {
        *("pattern", "format", "multipleOf", "exclusiveMinimum", "exclusiveMaximum", "uniqueItems", "not"),
        *("patternProperties", "propertyNames", "minProperties", "maxProperties", "prefixItems"),
        *("dependentRequired", "dependentSchemas"),
    }
)
"""Keywords that mean the same whatever stands beside them, so that the same one meets them."""


def misfit(inner: JsonObject, outer: JsonObject) -> str | None:
    """Where a value that `inner` allows may be none that `outer` allows, as a path of keys; None: nowhere."""
    return _Comparison(inner, outer).fit(inner, outer, "")


class _Comparison:
    """Two whole schemas, which their references are looked up in."""

    def __init__(self, inner: JsonObject, outer: JsonObject) -> None:
        self._inner = inner
        self._outer = outer
        self._steps = self._depth = 0

    def fit(self, inner: JsonValue, outer: JsonValue, where: str) -> str | None:
        place = where or "its top"
        self._steps += 1
        if self._steps > MAX_STEPS or self._depth > MAX_DEPTH:
            return place
        inner = _followed(inner, self._inner)
        if inner is False or outer is True:
            return None
        if not isinstance(outer, dict):
            return place
        # A reference leads into its own document, where the same path may be another schema.
        if _same(inner, outer) and not _holds_reference(outer):
            return None
        self._depth += 1
        try:
            return self._demands(inner, outer, place)
        finally:
            self._depth -= 1

    def _demands(self, inner: JsonValue, outer: JsonObject, place: str) -> str | None:
        for part in _parts(inner if isinstance(inner, dict) else {}):
            for key, wanted in outer.items():
                if key not in ANNOTATIONS and (wrong := self._demand(key, wanted, part, outer, place)):
                    return wrong
        return None

    def _demand(
        self, key: str, wanted: JsonValue, given: JsonObject, outer: JsonObject, place: str
    ) -> str | None:
        """What one keyword asks of a schema of one type, or of unknown ones."""
        below = f"{place}.{key}" if place != "its top" else key
        if _says_nothing(key, given):
            return None
        if key == "$ref":
            behind = _followed(outer, self._outer)
            return below if behind is None else self.fit(given, behind, place)
        if key == "allOf" and isinstance(wanted, list):
            return next((wrong for one in wanted if (wrong := self.fit(given, one, place))), None)
        if key == "anyOf" and isinstance(wanted, list):
            return None if any(self.fit(given, one, place) is None for one in wanted) else below
        if key == "properties" and isinstance(wanted, dict):
            return self._properties(wanted, given, below)
        if key == "additionalProperties":
            return self._additional(wanted, given, outer, below)
        if key == "items":
            return self.fit(_element(given), wanted, below)
        return None if _met(key, wanted, given) else below

    def _properties(self, wanted: JsonObject, given: JsonObject, where: str) -> str | None:
        for name, schema in wanted.items():
            if wrong := self.fit(_property(given, name), schema, f"{where}.{name[:80]}"):
                return wrong
        return None

    def _additional(self, wanted: JsonValue, given: JsonObject, outer: JsonObject, where: str) -> str | None:
        named, own = outer.get("properties"), given.get("properties")
        known = named if isinstance(named, dict) else {}
        for name, schema in own.items() if isinstance(own, dict) else ():
            if name not in known and (wrong := self.fit(schema, wanted, f"{where}.{name[:80]}")):
                return wrong
        return self.fit(_unnamed(given), wanted, where)


def _parts(schema: JsonObject) -> Iterator[JsonObject]:
    """Schemas that together allow all that one does, each of one type or one value where that is known."""
    for key in ("anyOf", "oneOf"):
        branches = schema.get(key)
        if isinstance(branches, list):
            rest = {name: value for name, value in schema.items() if name != key}
            for branch in branches:
                held = branch if isinstance(branch, dict) else {}
                # Where both have a keyword the branch alone allows more than the two together.
                yield from _parts(held if rest.keys() & held.keys() - ANNOTATIONS else {**rest, **held})
            return
    if "const" in schema:
        yield _of_value(schema["const"])
    elif isinstance(values := schema.get("enum"), list):
        yield from map(_of_value, values)
    elif isinstance(kinds := schema.get("type"), list):
        for kind in kinds:
            yield from _parts({**schema, "type": kind})
    elif schema.get("type") == "null":
        yield _of_value(None)
    elif schema.get("type") == "boolean":
        yield from map(_of_value, (True, False))
    else:
        yield schema


def _of_value(value: JsonValue) -> JsonObject:
    """A schema that allows one value, as far as keywords that are compared can say."""
    schema: JsonObject = {"const": value, "type": _type_of(value)}
    if isinstance(value, str):
        return {**schema, "minLength": len(value), "maxLength": len(value)}
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return {**schema, "minimum": value, "maximum": value}
    return schema


def _type_of(value: JsonValue) -> str:
    if value is None or isinstance(value, bool):
        return "null" if value is None else "boolean"
    if isinstance(value, (int, float)):
        # JSON Schema calls 1.0 an integer too.
        return "integer" if value % 1 == 0 else "number"
    return "string" if isinstance(value, str) else "array" if isinstance(value, list) else "object"


def _says_nothing(key: str, given: JsonObject) -> bool:
    subject, kind = SUBJECT.get(key), given.get("type")
    if subject is None or not isinstance(kind, str) or kind not in TYPES:
        return False
    return kind not in ((subject, "integer") if subject == "number" else (subject,))


def _met(key: str, wanted: JsonValue, given: JsonObject) -> bool:
    """Keywords that hold no schema, and those that are not known."""
    held = given.get(key)
    if key == "type":
        allowed = wanted if isinstance(wanted, list) else [wanted]
        kind = given.get("type")
        return (isinstance(kind, str) and kind in allowed) or (kind == "integer" and "number" in allowed)
    if key in ("enum", "const"):
        values = wanted if key == "enum" and isinstance(wanted, list) else [wanted]
        return "const" in given and any(_same(given["const"], one) for one in values)
    if key == "required":
        names = held if isinstance(held, list) else []
        return isinstance(wanted, list) and all(name in names for name in wanted)
    if key in AT_MOST or key in AT_LEAST:
        if not _number(wanted):
            return False
        if key in AT_LEAST and key != "minimum" and wanted <= 0:  # type: ignore[operator]
            return True
        return _number(held) and (held <= wanted if key in AT_MOST else held >= wanted)  # type: ignore[operator]
    if key == "uniqueItems" and wanted is False:
        return True
    return key in ALONE and key in given and _same(held, wanted) and not _holds_reference(wanted)


def _number(value: JsonValue) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _same(one: JsonValue, other: JsonValue) -> bool:
    """Equal as JSON: true is not 1."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return isinstance(one, bool) == isinstance(other, bool) and one == other


def _property(schema: JsonObject, name: str) -> JsonValue:
    """What an object that the schema allows may hold under a name; False: nothing."""
    own = schema.get("properties")
    return own[name] if isinstance(own, dict) and name in own else _unnamed(schema)


def _unnamed(schema: JsonObject) -> JsonValue:
    """What it may hold under a name that the schema does not list."""
    return {} if "patternProperties" in schema else schema.get("additionalProperties", {})


def _element(schema: JsonObject) -> JsonValue:
    """What a list that the schema allows may hold anywhere."""
    items = schema.get("items", {})
    return items if isinstance(items, (dict, bool)) and "prefixItems" not in schema else {}


def _followed(schema: JsonValue, root: JsonObject) -> JsonValue:
    """Behind a reference within the schema; None where it leads nowhere, or round."""
    for _ in range(8):
        if not isinstance(schema, dict) or "$ref" not in schema:
            return schema
        schema = _at(root, schema["$ref"])
    return None


def _at(root: JsonObject, reference: JsonValue) -> JsonValue:
    if reference == "#":
        return root
    held: JsonValue = root
    for part in reference[2:].split("/") if isinstance(reference, str) and reference[:2] == "#/" else [""]:
        held = held.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(held, dict) else None
    return held


def _holds_reference(value: JsonValue) -> bool:
    if isinstance(value, dict):
        return any(name in value for name in ("$ref", "$dynamicRef")) or any(
            map(_holds_reference, value.values())
        )
    return isinstance(value, list) and any(map(_holds_reference, value))
