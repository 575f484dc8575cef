"""What an engine would make grammars of is found in each API's form, and most of it needs no trial."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from gateway.dialects.cost.grammars import grammars_of
from gateway.dialects.request_body import fields_of

SCHEMA = {"type": "object", "properties": {"a": {"type": "string", "pattern": "x"}}}
TEXT = json.dumps(SCHEMA, separators=(",", ":"))
FORMAT = {"type": "json_schema", "name": "x", "schema": SCHEMA}
FUNCTION = {"type": "function", "function": {"name": "f", "parameters": SCHEMA}}
TAG = {"type": "structural_tag", "format": {"type": "regex", "pattern": "x"}}
STRUCTURES = [{"begin": "<", "schema": SCHEMA, "end": ">"}]
OLD_TAG = {"type": "structural_tag", "structures": STRUCTURES, "triggers": ["<"]}
ENUM = {"type": "array", "items": {"enum": ["x"] * 500}, "maxItems": 50}
CITY = {"type": "object", "properties": {"city": {"type": "string", "maxLength": 80}}}


def json_schema(schema: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}


@pytest.mark.parametrize(
    ("key", "value", "found"),
    [
        ("response_format", json_schema(SCHEMA), [("json", TEXT)]),
        ("response_format", TAG, [("structural_tag", json.dumps(TAG, separators=(",", ":")))]),
        ("response_format", OLD_TAG, [("structural_tag", json.dumps(OLD_TAG, separators=(",", ":")))]),
        ("text", {"format": FORMAT}, [("json", TEXT)]),
        ("output_config", {"format": FORMAT}, [("json", TEXT)]),
        ("structured_outputs", {"json": SCHEMA}, [("json", TEXT)]),
        ("structured_outputs", {"json": TEXT}, [("json", TEXT)]),
        ("structured_outputs", {"regex": "a*"}, [("regex", "a*")]),
        ("structured_outputs", {"grammar": "root ::= x"}, [("grammar", "root ::= x")]),
        ("structured_outputs", {"structural_tag": json.dumps(TAG)}, [("structural_tag", json.dumps(TAG))]),
        ("tools", [FUNCTION, {"type": "function"}], [("json", TEXT)]),
        ("tools", [{"input_schema": SCHEMA}, {"parameters": SCHEMA}], [("json", TEXT)] * 2),
        ("tools", [{"type": "namespace", "tools": [FUNCTION]}], [("json", TEXT)]),
    ],
)  # fmt: skip
def test_each_form_is_read(key: str, value: Any, found: list[tuple[str, str]]) -> None:
    grammars = grammars_of(fields_of({"model": "m", key: value}))
    assert [(one.kind, one.text) for one in grammars] == found
    assert all(one.param.startswith(key) for one in grammars)


@pytest.mark.parametrize(
    "member",
    [
        '"$ref":"#"',
        '"$defs":{"a":{"$dynamicRef":"#a"}}',
        '"patternProperties":{}',
        '"propertyNames":{}',
        '"minProperties":3',
        '"minItems":1000000',
        '"maxLength": 9999999',
        '"p\\u0061ttern":"x"',
        '"\\u0024ref":"#"',
    ],
)
def test_what_may_be_dear_is_tried_however_it_is_spelled(member: str) -> None:
    raw = msgspec.Raw(f'{{"type":"json_schema","json_schema":{{"name":"x","schema":{{{member}}}}}}}'.encode())
    assert len(grammars_of({"response_format": raw})) == 1


@pytest.mark.parametrize("member", ['"minProperties":3', '"minItems":\n1000000', '"maxLength" : 9999999'])
def test_what_may_be_dear_is_tried_in_a_schema_that_is_a_text(member: str) -> None:
    schema = f'{{"type":"object",{member}}}'
    found = grammars_of(fields_of({"structured_outputs": {"json": schema}}))
    assert [(one.kind, one.text) for one in found] == [("json", schema)]


@pytest.mark.parametrize(
    "fields",
    [
        {"response_format": {"type": "json_object"}},
        {"response_format": json_schema({"type": "object", "properties": {"a": ENUM}})},
        {"structured_outputs": {"choice": ["a", "b"]}},
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": CITY}}]},
        {"messages": [{"role": "user", "content": '"pattern": "$ref"'}]},
        {"response_format": {"type": "pattern"}, "tools": "pattern"},
    ],
)  # fmt: skip
def test_the_usual_needs_none(fields: dict[str, Any]) -> None:
    assert grammars_of(fields_of(fields)) == []
