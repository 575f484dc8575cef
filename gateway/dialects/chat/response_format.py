"""`response_format`: a form that other servers take is written as the engine reads it. Pure."""

from __future__ import annotations

import msgspec

from gateway.dialects.parameters import Limits, checked, unsupported
from gateway.dialects.request_body import Fields
from gateway.errors import InvalidRequest

_encode = msgspec.json.Encoder().encode


def response_format(key: str, fields: Fields, limits: Limits) -> None:
    """A rule: what it holds is bounded, since a grammar is made of it.

    llama.cpp's server, Together and Fireworks take a schema beside `json_object`. The engine passes over it
    there, and the answer would be any object. Raises InvalidRequest.
    """
    value = checked(key, fields, limits)
    if not isinstance(value, dict) or value.get("type") != "json_object":
        return
    schema = value.get("schema")
    if schema is None:
        return
    if not isinstance(schema, dict):
        raise InvalidRequest(f"'{key}.schema' must be an object.", param=f"{key}.schema")
    if limits.strict:
        raise unsupported(
            f"{key}.schema",
            f"'{key}.schema' is not supported: send type json_schema, with it at json_schema.schema.",
        )
    asked = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    fields[key] = msgspec.Raw(_encode(asked))
