"""What is told apart from a JSON schema, and that whatever may be one passes."""

from __future__ import annotations

import time

import pytest
from pydantic import BaseModel, JsonValue

from gateway.dialects.tool_schemas import fault_in


class Inner(BaseModel):
    amount: float | None = None
    tags: dict[str, list[str]] = {}


class Outer(BaseModel):
    inner: Inner
    children: list[Outer] = []


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "object", "properties": {}, "required": [], "additionalProperties": False},
        {"type": ["string", "null"], "enum": [1, None], "pattern": "(", "maxLength": 3.0},
        {"anyOf": [True, {"type": "null"}], "items": [{"type": "string"}], "x-mine": {"type": "anything"}},
        {"properties": {"type": {"type": "string"}, "$ref": {"const": 1}, "required": True}},
        {"$ref": "#/$defs/a~1b", "$defs": {"a/b": {}}, "exclusiveMinimum": True},
        {"$ref": "https://example.com/schema"},
        {"$ref": "#/$defs/a%20b", "$defs": {"a b": {}}},
        {"$ref": "#/anyOf/1", "anyOf": [{}, {}]},
        Outer.model_json_schema(),
    ],
)
def test_schemas_pass(schema: JsonValue) -> None:
    assert fault_in(schema) is None


@pytest.mark.parametrize(
    ("schema", "place"),
    [
        ("text", ""),
        (True, ""),
        ([], ""),
        ({"type": "banana"}, "type"),
        ({"type": []}, "type"),
        ({"type": ["string", 5]}, "type"),
        ({"properties": "x"}, "properties"),
        ({"properties": {"a": "string"}}, "properties.a"),
        ({"properties": {"a": {"items": {"type": "list"}}}}, "properties.a.items.type"),
        ({"required": "a"}, "required"),
        ({"required": [1]}, "required"),
        ({"enum": "a"}, "enum"),
        ({"pattern": 5}, "pattern"),
        ({"anyOf": {}}, "anyOf"),
        ({"anyOf": [{}, 5]}, "anyOf[1]"),
        ({"items": 5}, "items"),
        ({"minimum": "0"}, "minimum"),
        ({"maxItems": -1}, "maxItems"),
        ({"maxItems": 1.5}, "maxItems"),
        ({"additionalProperties": "no"}, "additionalProperties"),
        ({"$defs": {"a": {"type": "x"}}}, "$defs.a.type"),
        ({"$ref": 5}, "$ref"),
        ({"$ref": "#/nope"}, "$ref"),
        ({"$ref": "#/anyOf/2", "anyOf": [{}]}, "$ref"),
        ({"$ref": f"#/anyOf/{'9' * 5000}", "anyOf": [{}]}, "$ref"),  # more digits than Python reads
    ],
)
def test_what_is_no_schema_is_found_where_it_stands(schema: JsonValue, place: str) -> None:
    found = fault_in(schema)
    assert found is not None
    assert found[0] == place
    assert len(found[1]) < 250


def test_a_large_schema_takes_little_time() -> None:
    schema: JsonValue = {"properties": {f"p{i}": {"type": "string", "maxLength": 9} for i in range(1500)}}
    began = time.process_time()
    assert fault_in(schema) is None
    assert time.process_time() - began < 0.5
