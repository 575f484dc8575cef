"""A pipeline and what clients send along: a format of the answer, and a system message."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.config.document import JsonObject
from gateway.dialects.messages.dialect import MESSAGES
from gateway.dialects.responses.dialect import RESPONSES
from gateway.errors import InvalidRequest
from gateway.pipeline.compile import compile_pipelines
from gateway.pipeline.output import check_format, output_schema
from tests.support.pipeline_script import chat, demo, pipeline, root

ELEMENT = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "definition": {"type": "string"},
        "members": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["name", "definition", "members"],
    "additionalProperties": False,
}


CONCEPTS = {
    "type": "object",
    "properties": {"concepts": {"type": "array", "items": ELEMENT}},
    "required": ["concepts"],
    "additionalProperties": False,
}


def shipped() -> Any:
    from gateway.config.document import load_config

    return compile_pipelines(load_config(root() / "configs/demo/config.yaml"))["concept-naming"]


def asked(schema: object) -> JsonObject:
    named = {"name": "x", "schema": schema, "strict": True}
    return chat("a", response_format={"type": "json_schema", "json_schema": named})


def test_the_types_that_clients_make_of_the_demos_answer_are_taken() -> None:
    made = {
        "$defs": {"Concept": {**ELEMENT, "title": "Concept"}},
        "type": "object",
        "title": "Concepts",
        "properties": {
            "concepts": {"type": "array", "title": "Concepts", "items": {"$ref": "#/$defs/Concept"}}
        },
        "required": ["concepts"],
        "additionalProperties": False,
    }
    for schema in (CONCEPTS, made, {"type": "object"}, {}):
        check_format(asked(schema), shipped())
    check_format(chat("a", response_format={"type": "json_object"}), shipped())
    check_format(chat("a", response_format={"type": "text"}), shipped())


def narrowed(**element: object) -> JsonObject:
    return json.loads(json.dumps(CONCEPTS | {"properties": {"concepts": {"items": ELEMENT | element}}}))  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("schema", "place"),
    [
        (narrowed(required=["name", "score"]), "required"),
        (narrowed(properties={"name": {"type": "string"}}), "additionalProperties"),
        (narrowed(properties={"name": {"type": "integer"}}, additionalProperties=True), "name.type"),
        ({"type": "array"}, "type"),
        ({"type": "object", "required": ["answer"]}, "required"),
    ],
)
def test_a_format_that_the_answer_may_violate_is_refused_with_the_place(schema: object, place: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check_format(asked(schema), shipped())
    assert (caught.value.param, caught.value.code) == ("response_format", "unsupported_parameter")
    assert place in caught.value.message


def test_what_is_added_or_may_be_null_counts() -> None:
    own = output_schema(demo("on_error: 'null'"))
    assert own is not None
    name = own["properties"]["concepts"]["items"]["properties"]["name"]  # type: ignore[index,call-overload]
    assert name == {"anyOf": [{"type": "string"}, {"type": "null"}]}
    with pytest.raises(InvalidRequest, match="name"):
        check_format(asked(narrowed(additionalProperties=True)), demo("on_error: 'null'"))


def test_a_value_from_the_input_may_be_anything_but_a_term_is_text() -> None:
    text = """
base: {model: b}
pipelines:
  p:
    stages:
      - {id: s, task: base, prompt: x, schema: {type: object, properties: {
          a: {enum: {$from: terms}}, b: {enum: {$from: input.labels}}, c: {$from: terms}}}}
"""
    own = output_schema(pipeline(text))
    assert own == {
        "type": "object",
        "properties": {"a": {"type": "string"}, "b": {}, "c": {"type": "string"}},
    }


def test_an_answer_in_text_has_no_format() -> None:
    text = "base: {model: b}\npipelines: {p: {stages: [{id: s, task: base, prompt: x}]}}"
    assert output_schema(pipeline(text)) is None
    with pytest.raises(InvalidRequest, match="answers in text"):
        check_format(chat("a", response_format={"type": "json_object"}), pipeline(text))


def test_elements_that_are_no_objects_are_wrapped() -> None:
    text = """
base: {model: b}
pipelines:
  p:
    stages:
      - {id: s, task: base, prompt: x, schema: {type: object, additionalProperties: false,
         properties: {xs: {type: array, items: {type: integer}}}, required: [xs]}}
      - {id: t, task: base, for_each: s.xs, into: said, prompt: x}
"""
    item = {
        "type": "object",
        "properties": {"value": {"type": "integer"}, "said": {"type": "string"}},
        "required": ["value", "said"],
        "additionalProperties": False,
    }
    closed = {"type": "object", "properties": {"xs": {"type": "array", "items": item}}, "required": ["xs"]}
    check_format(asked(closed), pipeline(text))


@pytest.mark.parametrize(
    "written",
    [
        "xs: {$ref: '#/$defs/xs'}",  # as pydantic writes a type with a name
        "xs: {anyOf: [{type: array, items: {$ref: '#/$defs/x'}}, {type: 'null'}]}",  # an optional one
        "xs: {type: array, items: {type: object, $ref: '#/$defs/x'}}",
        "xs: {type: array, items: {type: object,"
        " anyOf: [{properties: {a: {}}, additionalProperties: false}]}}",
        "xs: {type: array, items: {type: object, patternProperties: {s: {type: integer}},"
        " additionalProperties: false}}",
    ],
)
def test_what_is_written_of_elements_by_reference_or_branch_hides_no_field_of_a_later_stage(
    written: str,
) -> None:
    text = f"""
base: {{model: b}}
pipelines:
  p:
    stages:
      - {{id: s, task: base, prompt: x, schema: {{type: object, additionalProperties: false, required: [xs],
         properties: {{{written}}},
         $defs: {{xs: {{type: array, items: {{$ref: '#/$defs/x'}}}},
                 x: {{type: object, properties: {{a: {{type: string}}}}, additionalProperties: false}}}}}}}}
      - {{id: t, task: base, for_each: s.xs, into: said, prompt: x}}
"""
    unkept = (
        {"type": "object", "properties": {"said": {"type": "integer"}}},
        {"type": "object", "properties": {"said": False}},
        {"type": "object", "patternProperties": {"s": {"type": "integer"}}},
    )
    for item in unkept:
        wanted = {"type": "object", "properties": {"xs": {"type": "array", "items": item}}}
        with pytest.raises(InvalidRequest, match="xs"):
            check_format(asked(wanted), pipeline(text))
    kept = {"type": "object", "properties": {"said": {"type": "string"}}, "required": ["said"]}
    lists = {"xs": {"type": "array", "items": kept}}
    check_format(asked({"type": "object", "properties": lists, "required": ["xs"]}), pipeline(text))


def test_the_format_of_other_apis_is_the_same() -> None:
    wanted: Any = {"type": "json_schema", "schema": CONCEPTS, "name": "x", "strict": True}
    for chat_of in (
        RESPONSES.as_chat({"input": "a", "text": {"format": wanted, "verbosity": "medium"}}),
        MESSAGES.as_chat({"messages": [], "output_config": {"format": wanted}}),
    ):
        check_format(chat_of.document, shipped())
        named = {"name": "x", "schema": CONCEPTS, "strict": True}
        assert chat_of.document["response_format"] == {"type": "json_schema", "json_schema": named}


def test_a_partition_promises_no_more_members_and_elements_than_it_keeps() -> None:
    pipe = shipped()
    own = output_schema(pipe)
    assert own is not None
    listed = own["properties"]["concepts"]  # type: ignore[index, call-overload]
    assert (listed["minItems"], listed["maxItems"]) == (1, 16)  # type: ignore[index, call-overload]
    assert listed["items"]["properties"]["members"]["minItems"] == 1  # type: ignore[index, call-overload]
    two = {**CONCEPTS, "properties": {"concepts": {"type": "array", "items": ELEMENT, "minItems": 2}}}
    with pytest.raises(InvalidRequest, match="concepts"):  # a second may lose all its members to the first
        check_format(asked(two), pipe)
    one = {**CONCEPTS, "properties": {"concepts": {"type": "array", "items": ELEMENT, "minItems": 1}}}
    check_format(asked(one), pipe)
