"""The JSON schema of a request: which parameters there are and what each one is, its dialect says."""

from __future__ import annotations

from gateway.config.document import JsonObject
from gateway.dialects.description import COMMON
from gateway.dialects.dialect import Dialect


def request_schema(dialect: Dialect) -> JsonObject:
    """What the body of this route may hold: every parameter that is honoured, and no other."""
    own = dialect.described.parameters
    names = sorted(dialect.passed | dialect.labels)
    return {
        "type": "object",
        "description": "What has an effect. Unless gateway.parameters is strict, what cannot change what an "
        "answer means is taken too, and named in the header x-gateway-ignored.",
        "properties": {name: own.get(name) or COMMON.get(name, {}) for name in names},
        "required": list(dialect.described.required),
        "additionalProperties": False,
    }
