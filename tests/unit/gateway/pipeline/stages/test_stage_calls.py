"""One call's body from a stage, and a stage's value from a call's answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.errors import EngineError, InvalidRequest, RequestError
from gateway.http.event_stream import TokenUsage
from gateway.pipeline.compile import Pipeline, compile_pipelines
from gateway.pipeline.stages.stage_calls import call_body, parsed_answer
from gateway.pipeline.stages.task_calls import Answer
from tests.support.stack import config_of


def pipeline_of(folder: Path) -> Pipeline:
    (pipeline,) = compile_pipelines(config_of(folder)).values()
    return pipeline


def said(text: str, finish: str = "stop") -> Answer:
    return Answer(text, TokenUsage(), "concept@1", finish)


def test_body_has_prompt_schema_and_a_lead_before_the_system(tmp_path: Path) -> None:
    pipeline = pipeline_of(tmp_path)
    first, each = pipeline.stages
    body: Any = call_body(pipeline, first, {"text": "cats"}, {}, None)
    assert body["messages"] == [{"role": "user", "content": "cats"}]
    assert body["response_format"]["json_schema"]["name"] == "extract"
    body = call_body(pipeline, each, {"item": {"definition": "d"}}, {"seed": 5}, None, "Be brief.")
    assert body["messages"][0] == {"role": "system", "content": "Be brief.\n\nName the concept."}
    assert (body["messages"][1]["content"], body["seed"]) == ("d", 5)


def test_answer_is_json_that_was_checked(tmp_path: Path) -> None:
    pipeline = pipeline_of(tmp_path)
    first, each = pipeline.stages
    body = call_body(pipeline, first, {"text": "x"}, {}, None)
    assert parsed_answer(pipeline, first, said(' {"concepts": []}\n'), body, None) == {"concepts": []}
    assert parsed_answer(pipeline, each, said(' "cat" '), {}, None) == "cat"  # its task's schema is a text's
    with pytest.raises(EngineError, match=r"\$: 'concepts' is a required property") as invalid:
        parsed_answer(pipeline, first, said("{}"), body, None)
    assert invalid.value.code == "stage_output_invalid"


@pytest.mark.parametrize(
    ("finish", "cap", "kind", "word"),
    [
        ("stop", None, EngineError, "no usable answer"),
        ("length", 5, InvalidRequest, "max_tokens=5; raise it"),
        ("length", None, EngineError, "cut short at the model's context"),
    ],
)
def test_answer_that_is_no_json_says_whose_doing_it_is(
    tmp_path: Path, finish: str, cap: int | None, kind: type[RequestError], word: str
) -> None:
    pipeline = pipeline_of(tmp_path)
    first = pipeline.stages[0]
    body = call_body(pipeline, first, {"text": "x"}, {}, cap)
    with pytest.raises(kind, match=word):
        parsed_answer(pipeline, first, said('{"conc', finish), body, cap)
