"""The whole document, of the routes that a gateway has."""

from __future__ import annotations

import re
from collections.abc import Collection

from pydantic.json_schema import models_json_schema

from gateway.config.document import JsonObject
from gateway.endpoints.openapi.operation import HEADERS, OperationObject
from gateway.endpoints.openapi.operation_list import OPERATIONS
from gateway.scrape.engine_states import release

DESCRIPTION = (
    "Many LoRA adapters on one base model, and pipelines made of them, as one endpoint. A parameter that is "
    "not listed is refused by name."
)
_CONVERTOR = re.compile(r"\{(\w+):\w+\}")


def plain_path(path: str) -> str:
    """Starlette's `{model:path}` as OpenAPI writes it."""
    return _CONVERTOR.sub(r"{\1}", path)


def document_of(routes: Collection[tuple[str, str]]) -> JsonObject:
    """The document for these pairs of a method and a path."""
    there = {(method, plain_path(path)) for method, path in routes}
    operations = [one for one in OPERATIONS if (one.method, one.path) in there]
    paths: JsonObject = {}
    for one in operations:
        entry = paths.setdefault(one.path, {})
        assert isinstance(entry, dict)
        entry[one.method.lower()] = one.document()
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "lora-gateway",
            "version": release(),
            "description": DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/", "description": "where this document came from"}],
        "paths": paths,
        "components": {
            "schemas": _schemas(operations),
            "headers": _headers(),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "apiKey": {"type": "apiKey", "in": "header", "name": "x-api-key"},
                "azureKey": {"type": "apiKey", "in": "header", "name": "api-key"},
            },
        },
    }


def _schemas(operations: Collection[OperationObject]) -> JsonObject:
    models = dict.fromkeys(model for one in operations for model in (*one.models, *one.faults))
    wanted = [(model, "serialization") for model in models]
    _, definitions = models_json_schema(
        wanted,  # type: ignore[arg-type]  # the mode is a literal
        ref_template="#/components/schemas/{model}",
    )
    schemas: JsonObject = definitions["$defs"]
    return schemas


def _headers() -> JsonObject:
    described = {
        **HEADERS,
        "x-request-id": "The request's id, in every log and record of it.",
        "retry-after": "Seconds until another try is worth it.",
    }
    return {
        name: {"description": text, "schema": {"type": "integer" if name == "retry-after" else "string"}}
        for name, text in described.items()
    }
