"""The pipeline written by hand asks what the gateway asks."""

from __future__ import annotations

import json

import pytest

from gateway.errors import ConfigError
from gateway.pipeline.compile import compile_pipelines
from gateway.pipeline.stages.stage_calls import call_body
from launch.bench.pipeline.by_hand import filled, stage_body
from launch.bench.pipeline.inputs import held_to, request_text, terms_for, two_stages
from launch.training.evaluate import read_held_out
from tests.unit.launch.bench.engine.test_config import demo_config


@pytest.mark.parametrize("count", [3, 8, 16])
def test_what_is_written_by_hand_asks_exactly_what_the_gateway_asks(count: int) -> None:
    """Else the two would not be comparable."""
    given = demo_config()
    held = held_to(two_stages(given, "concept-naming"), given, count)
    terms = terms_for(read_held_out("concept", None), count)
    config = given.model_copy(update={"pipelines": {held.name: held.pipeline}})
    compiled = compile_pipelines(config)[held.name]
    seen: dict[str, object] = {
        "terms": json.loads(request_text(terms)),
        "text": request_text(terms),
        "stages": {},
    }
    element = {"members": [terms[0].term], "definition": "a thing"}
    for stage, mine, item in ((0, held.first, None), (1, held.each, element)):
        theirs = call_body(compiled, compiled.stages[stage], {**seen, "item": item}, {}, None)
        if compiled.stages[stage].system is None:  # the relay adds the task's
            messages = theirs["messages"]
            assert isinstance(messages, list)
            messages.insert(0, {"role": "system", "content": given.tasks[mine.task].system})
        assert json.dumps(stage_body(mine, config, terms, item)) == json.dumps(theirs)


def test_a_schema_reference_that_is_not_to_the_terms_is_refused() -> None:
    assert filled({"enum": {"$from": "terms"}, "maxItems": {"$count": "terms"}}, ["a", "b"]) == {
        "enum": ["a", "b"],
        "maxItems": 2,
    }
    with pytest.raises(ConfigError, match="terms only"):
        filled({"enum": {"$from": "input.labels"}}, ["a"])
