"""What a stage may say of its lists, and the key that is named where it says something else."""

from __future__ import annotations

import pytest
import yaml

from gateway.errors import ConfigError
from gateway.pipeline.compile import Pipeline
from tests.support.pipeline_script import pipeline

SCHEMA = {
    "properties": {
        "xs": {
            "type": "array",
            "items": {"type": "object", "properties": {"ms": {"type": "array"}, "d": {"type": "string"}}},
        }
    }
}


def compiled(first: dict[str, object], last: dict[str, object]) -> Pipeline:
    stages = [
        {"id": "a", "task": "b", "prompt": "x", "schema": SCHEMA, **first},
        {"id": "z", "task": "b", "prompt": "x", "for_each": "a.xs", "into": "name", **last},
    ]
    return pipeline(
        yaml.safe_dump({"base": {"model": "m", "name": "b"}, "pipelines": {"p": {"stages": stages}}})
    )


def test_most_elements_are_the_schemas_or_the_pipelines() -> None:
    plain = compiled({"partition": "xs.ms"}, {}).stages[0].partition
    assert plain is not None
    assert (plain.field, plain.members, plain.most) == ("xs", "ms", 64)
    bounded = {"properties": {"xs": {**SCHEMA["properties"]["xs"], "maxItems": 3}}}
    held = compiled({"partition": "xs.ms", "schema": bounded}, {}).stages[0].partition
    assert held is not None
    assert held.most == 3


@pytest.mark.parametrize(
    ("first", "last", "key", "says"),
    [
        ({"partition": "xs"}, {}, "a.partition", "write <list>.<members>"),
        ({"partition": "xs.ms.y"}, {}, "a.partition", "write <list>.<members>"),
        ({"partition": "xs.d"}, {}, "a.partition", "no list 'xs' of objects with a list 'd'"),
        ({"partition": "ys.ms"}, {}, "a.partition", "no list 'ys'"),
        ({"partition": "xs.ms"}, {"for_each": None, "into": None}, "a.partition", "for_each: a.xs"),
        ({}, {"partition": "xs.ms"}, "z.partition", "writes the list"),
        ({"distinct": True}, {}, "a.distinct", "for_each"),
        ({}, {"distinct": True, "schema": SCHEMA}, "z.distinct", "answers in text"),
    ],
)
def test_what_does_not_fit_is_named(
    first: dict[str, object], last: dict[str, object], key: str, says: str
) -> None:
    with pytest.raises(ConfigError, match=says) as raised:
        compiled(first, last)
    assert f"pipelines.p.stages.{key}" in str(raised.value)
