"""Compiling pipelines: templates in their sandbox, schemas, and errors that name their key."""

from __future__ import annotations

import json

import pytest
import yaml

from gateway.config.document import JsonObject, load_config
from gateway.errors import ConfigError
from gateway.pipeline.compile import Pipeline, compile_pipelines
from gateway.pipeline.stages.stage_calls import call_body
from tests.support.pipeline_script import demo, pipeline, root


def one(prompt: str, **stage: object) -> Pipeline:
    first = {"id": "first", "task": "b", "prompt": "x", "schema": {"properties": {"xs": {"type": "array"}}}}
    last = {"id": "s", "task": "b", "prompt": prompt, **stage}
    config = {"base": {"model": "m", "name": "b"}, "pipelines": {"p": {"stages": [first, last]}}}
    return pipeline(yaml.safe_dump(config))


def test_the_demos_pipeline_compiles_and_holds_members_to_the_terms() -> None:
    config = load_config(root() / "configs/demo/config.yaml", {})
    pipe = compile_pipelines(config)["concept-naming"]
    terms = ['a"b', "c\\d", "é犬😀", "\x01\n", "a/b"]
    values = {"input": "", "text": "", "terms": [{"term": term, "gloss": None} for term in terms]}
    body = call_body(pipe, pipe.stages[0], values, {}, None)
    text = json.dumps(body["response_format"], ensure_ascii=False)
    assert json.dumps(terms, ensure_ascii=False) in text
    assert '"$' not in text


@pytest.mark.parametrize(
    ("prompt", "stage", "key", "says"),
    [
        ("{% for %}", {}, "prompt", "valid template"),
        ("{{ inptu }}", {}, "prompt", "did you mean 'input'"),
        ("{{ item.x }}", {}, "prompt", "for_each"),
        ("{{ stages.later }}", {}, "prompt", "earlier stage"),
        ("{% include 'x' %}", {}, "prompt", "stands alone"),
        ("{{ lipsum() }}", {}, "prompt", "no value of a prompt"),
        ("x", {"for_each": "first.ys", "into": "a"}, "for_each", "it has: xs"),
        ("x", {"for_each": "first.xs.z", "into": "a"}, "for_each", "top"),
        ("x", {"schema": {"enum": {"$from": "wrong"}}}, "schema", "start the reference"),
        ("x", {"schema": {"enum": {"$from": "stages.s"}}}, "schema", "earlier stage"),
        ("x", {"schema": {"type": 7}}, "schema", "valid JSON schema"),
    ],
)
def test_a_mistake_is_an_error_at_start_that_names_its_key(
    prompt: str, stage: JsonObject, key: str, says: str
) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        one(prompt, **stage)
    assert caught.value.key == f"pipelines.p.stages.s.{key}"


def test_two_stages_cannot_fill_one_field() -> None:
    extra = '\n      - {id: again, task: naming, for_each: extract.concepts, into: name, prompt: "x"}'
    from tests.support.pipeline_script import CONCEPTS

    with pytest.raises(ConfigError, match="earlier stage"):
        pipeline(CONCEPTS % "on_error: fail" + extra.lstrip("\n") + "\n")
    assert len(demo().fans) == 1
