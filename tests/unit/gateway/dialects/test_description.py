"""The schemas of parameters: which values they take, and that each belongs to a route."""

from __future__ import annotations

import pytest
from jsonschema import Draft202012Validator

from gateway.dialects.description import COMMON, Usage, closed, maybe
from gateway.dialects.registry import DIALECTS
from tests.fakes.fake_engine import recorded


@pytest.mark.parametrize("name", COMMON)
def test_a_schema_is_one_and_some_route_has_its_parameter(name: str) -> None:
    Draft202012Validator.check_schema(COMMON[name])
    assert any(name in dialect.passed | dialect.labels for dialect in DIALECTS)


def test_a_parameter_may_be_null_and_otherwise_has_its_type_and_bounds() -> None:
    schema = Draft202012Validator(maybe("integer", "How many.", minimum=1))
    assert [schema.is_valid(value) for value in (None, 1, 0, "1")] == [True, True, False, False]
    assert maybe("integer", "How many.")["description"] == "How many."
    assert "description" not in maybe("integer")


def test_a_closed_object_takes_no_other_member() -> None:
    schema = Draft202012Validator(closed(effort=maybe("string")))
    values: list[object] = [{}, {"effort": "low"}, None, {"effort": 1}, {"other": "x"}]
    assert [schema.is_valid(value) for value in values] == [True, True, True, False, False]


def test_usage_of_an_engine_has_no_stages_and_a_pipelines_has() -> None:
    body = recorded("chat")["body"]
    assert isinstance(body, dict)
    usage = Usage.model_validate(body["usage"])
    assert (usage.total_tokens, usage.stages) == (39, [])
    stage = {"stage": "name", "task": "naming", "adapter": "naming@1", "prompt_tokens": 3}
    figures = {"completion_tokens": 2, "calls": 1, "errors": 0, "start_ms": 0.0, "ms": 1.5}
    whole = Usage.model_validate({"prompt_tokens": 3, "total_tokens": 5, "stages": [stage | figures]})
    assert whole.stages[0].ms == 1.5
