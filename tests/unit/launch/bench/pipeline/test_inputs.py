"""What the pipeline's benchmark is asked with."""

from __future__ import annotations

import json

import pytest

from gateway.errors import ConfigError
from launch.bench.pipeline.inputs import held_to, terms_for, two_stages
from launch.training.evaluate import read_held_out
from tests.unit.launch.bench.engine.test_config import demo_config


def test_the_pipeline_is_held_to_its_number_with_room_to_write_it() -> None:
    given = demo_config()
    held = held_to(two_stages(given, "concept-naming"), given, 16)
    schema = held.pipeline.stages[0].schema_
    assert schema is not None
    bounds = json.dumps(schema["properties"])
    assert '"minItems": 16, "maxItems": 16' in bounds
    assert held.pipeline.stages[0].defaults["max_tokens"] == 1280
    assert '"minItems": 1, "maxItems": 16' in json.dumps(given.pipelines["concept-naming"].stages[0].schema_)


def test_a_pipeline_of_another_form_or_name_is_refused() -> None:
    with pytest.raises(ConfigError, match="concept-naming"):
        two_stages(demo_config(), "concept-nameing")


def test_inputs_have_two_terms_a_concept_and_too_many_concepts_are_an_error() -> None:
    examples = read_held_out("concept", None)
    terms = terms_for(examples, 16)
    assert len({one.term for one in terms}) == 32
    assert terms[0].gloss
    others = terms_for(examples, 16, 32)
    assert not {one.term for one in others} & {one.term for one in terms_for(examples, 16, 16)}
    assert not {one.term for one in others} & {one.term for one in terms}
    with pytest.raises(ConfigError, match="groups that fit"):
        terms_for(examples[:2], 16)
