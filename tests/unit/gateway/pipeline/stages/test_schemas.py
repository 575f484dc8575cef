"""A stage's schema, filled from the request."""

from __future__ import annotations

from gateway.config.document import JsonObject
from gateway.pipeline.stages.schemas import fill_schema


def test_a_schemas_references_are_filled_from_the_request() -> None:
    schema: JsonObject = {
        "enum": {"$from": "terms"},
        "items": {"$from": "stages.first.names"},
        "maxItems": {"$count": "terms"},
    }
    values = {"terms": [{"term": "a"}, {"term": "b"}], "stages": {"first": {"names": ["x", "x", 1, True]}}}
    assert fill_schema(schema, values) == {
        "enum": ["a", "b"],
        "items": {"enum": ["x", 1, True]},
        "maxItems": 2,
    }
    assert fill_schema(schema, {}) == {"type": "string", "items": {"type": "string"}}
