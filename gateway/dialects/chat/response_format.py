"""`response_format`: forms that other servers take are written as the engine reads them. Pure."""

from __future__ import annotations

from gateway.dialects.parameters import Limits, checked, unsupported
from gateway.dialects.request_body import Fields, raw_of
from gateway.errors import InvalidRequest

BESIDE = ("json_object", "json_schema")
"""Types that may have a schema beside them."""
ELSEWHERE = ("regex", "grammar")
"""Types of other servers that the engine has under a name of its own."""


def response_format(key: str, fields: Fields, limits: Limits) -> None:
    """A rule: what it holds is bounded, since a grammar is made of it.

    llama.cpp's server, Together and Fireworks take a schema beside the type, Hugging Face's calls it `value`.
    The engine passes over it beside `json_object`, and the answer would be any object. Raises InvalidRequest.
    """
    value = checked(key, fields, limits)
    if value == {}:
        del fields[key]  # it asks for nothing
        return
    if not isinstance(value, dict):
        return
    kind = value.get("type")
    if isinstance(kind, str) and kind in ELSEWHERE:
        raise unsupported(f"{key}.type", f"'{key}.type' is {kind!r}: send it as structured_outputs.{kind}.")
    held = value.get("json_schema")
    if kind == "json_schema" and isinstance(held, dict) and held.get("schema") is None:
        place = f"{key}.json_schema.schema"
        raise InvalidRequest(f"'{place}' is required.", param=place, code="missing_required_parameter")
    if kind not in BESIDE or held is not None:
        return
    member = next((name for name in ("schema", "value") if value.get(name) is not None), None)
    if member is None:
        return
    place, schema = f"{key}.{member}", value[member]
    if not isinstance(schema, dict):
        raise InvalidRequest(f"'{place}' must be an object.", param=place)
    if limits.strict:
        raise unsupported(
            place, f"'{place}' is not supported: send type json_schema, with it at json_schema.schema."
        )
    asked = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    fields[key] = raw_of(asked)
