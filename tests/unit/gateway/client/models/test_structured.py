"""Answers that are data: what the engine is told to write, and how what it wrote is held against it."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from gateway.client.calls import Completion
from gateway.client.errors import InvalidArgument, OutputInvalid
from gateway.client.model_list import Entry
from gateway.client.models.structured import ANY_OBJECT, shape_of_schema, shape_of_type

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
BASE, TASK = Entry("smol", "base", True), Entry("naming", "task", True)
CONTRACT, PIPELINE = Entry("concept", "task", True, SCHEMA), Entry("both", "pipeline", False)


def said(text: str) -> Completion:
    return Completion(text=text, finish_reason="stop")


@dataclasses.dataclass
class Point:
    x: int


def test_type_is_told_to_the_engine_and_made_of_the_answer() -> None:
    shape = shape_of_type(TASK, Point)
    assert shape.response_format is not None
    assert shape.response_format["json_schema"]["name"] == "Point"
    assert shape.read("naming", said('{"x": 3}')) == Point(3)
    with pytest.raises(OutputInvalid, match="x: Input should be a valid integer"):
        shape.read("naming", said('{"x": "three"}'))
    assert shape_of_type(PIPELINE, Point).response_format is None  # its stages have schemas of their own
    with pytest.raises(InvalidArgument, match="response_model"):
        shape_of_type(TASK, object())  # type: ignore[arg-type]  # on purpose


@pytest.mark.parametrize(
    ("entry", "schema", "asked"),
    [
        (BASE, None, ANY_OBJECT),
        (TASK, None, None),  # as it was trained to
        (CONTRACT, None, None),  # its own is in its contract
        (PIPELINE, SCHEMA, None),
    ],
)
def test_nothing_is_added_where_the_form_is_known(entry: Entry, schema: Any, asked: Any) -> None:
    assert shape_of_schema(entry, schema).response_format == asked


def test_names_of_any_form_are_made_plain() -> None:
    odd = Entry("näming@1." + "x" * 80, "task", True)
    format_ = shape_of_schema(odd, SCHEMA).response_format
    assert format_ is not None
    name = format_["json_schema"]["name"]
    assert name.startswith("n_ming_1_xxx")
    assert len(name) == 64


@pytest.mark.parametrize("entry", [CONTRACT, PIPELINE])
def test_answer_is_held_against_the_schema_whoever_named_it(entry: Entry) -> None:
    shape = shape_of_schema(entry, None if entry is CONTRACT else SCHEMA)
    assert shape.read("m", said('{"a": 1}')) == {"a": 1}
    with pytest.raises(OutputInvalid, match=r"\$\.a: 'x' is not of type 'integer'") as invalid:
        shape.read("m", said('{"a": "x"}'))
    assert invalid.value.text == '{"a": "x"}'


@pytest.mark.parametrize("text", ["[1]", "nonsense", "", '"x"'])
def test_answer_that_is_no_object_is_said(text: str) -> None:
    with pytest.raises(OutputInvalid):
        shape_of_schema(BASE, None).read("smol", said(text))
