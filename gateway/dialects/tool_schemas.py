"""Whether a tool's parameters are a JSON schema at all. Pure.

vLLM looks into it only for a grammar; else what cannot be one goes into the prompt as it is. Time is linear
in its size: a whole validation by the meta-schema would hold up the gateway's loop.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from pydantic import JsonValue

TYPES = ("array", "boolean", "integer", "null", "number", "object", "string")
_NUMBER = re.compile(r"[0-9]{1,9}")
"""Of an element: Python reads no more than 4,300 digits, and no list has so many."""
_ONE = frozenset(
    {
        *("additionalItems", "additionalProperties", "contains", "else", "if", "items", "not"),
        *("propertyNames", "then", "unevaluatedItems", "unevaluatedProperties"),
    }
)
_LISTED = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
_NAMED = frozenset({"$defs", "definitions", "dependentSchemas", "patternProperties", "properties"})


def fault_in(schema: JsonValue) -> tuple[str, str] | None:
    """Where a schema is none, as a path of its keys, and why; None where nothing was found."""
    pending: list[tuple[str, JsonValue]] = [("", schema)]
    while pending:
        place, one = pending.pop()
        # Below the root `true` and `false` are schemas too; a function's whole one has to be an object.
        if isinstance(one, bool) and place:
            continue
        if not isinstance(one, dict):
            return place, "a schema is an object"
        for key, value in one.items():
            where = f"{place}.{key}" if place else key
            why = _VALUES[key](value) if key in _VALUES else None
            if why is None and key == "$ref" and not _found(value, schema):
                why = f"nothing stands at {str(value)[:80]!r}"
            if why is not None:
                return where, why
            pending += _below(key, where, value)
    return None


def _below(key: str, where: str, value: JsonValue) -> list[tuple[str, JsonValue]]:
    if isinstance(value, dict) and key in _NAMED:
        return [(f"{where}.{name}", one) for name, one in value.items()]
    if isinstance(value, list) and (key in _LISTED or key == "items"):
        return [(f"{where}[{index}]", one) for index, one in enumerate(value)]
    return [(where, value)] if key in _ONE else []


def _found(reference: JsonValue, root: JsonValue) -> bool:
    """Whether a reference into the schema itself leads somewhere; other references are not followed."""
    if not isinstance(reference, str) or not reference.startswith("#/"):
        return True
    held: JsonValue = root
    for part in reference[2:].split("/"):
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(held, dict) and name in held:
            held = held[name]
        elif isinstance(held, list) and _NUMBER.fullmatch(name) and int(name) < len(held):
            held = held[int(name)]
        else:
            return "%" in part  # an escape of addresses, which a name seldom has
    return True


def _type(value: JsonValue) -> str | None:
    names = value if isinstance(value, list) and value else [value]
    for name in names:
        if not isinstance(name, str) or name not in TYPES:
            return f"{str(name)[:80]!r} is no type; a type is one of {', '.join(TYPES)}"
    return None


def _names(value: JsonValue) -> str | None:
    wrong = not isinstance(value, list) or not all(isinstance(name, str) for name in value)
    return "it must be a list of names" if wrong else None


def _is(what: type | tuple[type, ...], called: str) -> Callable[[JsonValue], str | None]:
    def check(value: JsonValue) -> str | None:
        return None if isinstance(value, what) else f"it must be {called}"

    return check


def _number(value: JsonValue) -> str | None:
    fine = isinstance(value, (int, float)) and not isinstance(value, bool)
    return None if fine else "it must be a number"


def _count(value: JsonValue) -> str | None:
    fine = isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0 and value % 1 == 0
    return None if fine else "it must be a whole number from 0"


_VALUES: dict[str, Callable[[JsonValue], str | None]] = {
    "type": _type,
    "required": _names,
    "enum": _is(list, "a list"),
    "pattern": _is(str, "a string"),
    "$ref": _is(str, "a string"),
    **dict.fromkeys(_NAMED, _is(dict, "an object")),
    **dict.fromkeys(_LISTED, _is(list, "a list of schemas")),
    **dict.fromkeys(("maximum", "minimum", "multipleOf"), _number),
    **dict.fromkeys(
        ("maxItems", "maxLength", "maxProperties", "minItems", "minLength", "minProperties"), _count
    ),
}
