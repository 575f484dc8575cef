"""`defaults` that the engine would refuse in every request are refused when the configuration is read."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from gateway.config.document import JsonObject, read_config
from gateway.config.sections.sampling import Sampling, SamplingNumbers
from gateway.dialects.description import COMMON

CHECK: TypeAdapter[JsonObject] = TypeAdapter(Sampling)


@pytest.mark.parametrize(
    ("defaults", "said"),
    [
        ("temperature: -1", "temperature: -1: Input should be greater than or equal to 0"),
        ("temperature: hot", "temperature: hot: Input should be a valid number"),
        ("temperature: yes", "temperature: True: must be a number"),
        ("top_p: 0", "top_p: 0: Input should be greater than 0"),
        ("top_k: -2", "top_k: -2: Input should be greater than or equal to -1"),
        ("max_tokens: -1", "max_tokens: -1: Input should be greater than or equal to 1"),
        ("n: 0", "n: 0: Input should be greater than or equal to 1"),
        ("seed: 1.5", "seed: 1.5: Input should be a valid integer"),
    ],
)
def test_a_default_out_of_range_is_named_with_its_value_and_the_range(
    tmp_path: Path, defaults: str, said: str
) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(
        f"base: {{model: x}}\ntasks: {{n: {{adapter: a, defaults: {{{defaults}}}}}}}\n"
        f"pipelines: {{p: {{stages: [{{id: s, task: n, prompt: x, defaults: {{{defaults}}}}}]}}}}\n"
    )
    of_task, of_stage = (str(one) for one in read_config(file, {})[1])
    assert of_task.startswith(f"tasks.n.defaults.{said}")
    assert of_stage.startswith(f"pipelines.p.stages.0.defaults.{said}")


def test_what_the_engine_takes_stays_as_it_is_and_a_number_in_text_becomes_one() -> None:
    sound: JsonObject = {"temperature": 0, "top_k": -1, "max_tokens": None, "n": 2, "presence_penalty": -2}
    sound |= {"top_p": 1, "seed": -1, "stop": "no", "logit_bias": {"1": 5}, "reasoning_effort": "low"}
    assert CHECK.validate_python(sound) == sound
    assert CHECK.validate_python({"temperature": "0.5", "n": "2"}) == {"temperature": 0.5, "n": 2}
    older: JsonObject = {
        "temperature": 3.0,
        "min_tokens": 6,
        "max_tokens": 5,
        "max_completion_tokens": 6,
    }
    assert CHECK.validate_python(older) == older
    for stop in (5, True, ["a", False]):
        with pytest.raises(ValidationError, match="in quotes"):
            CHECK.validate_python({"stop": stop})


CALLED: JsonObject = {"type": "function", "function": {"name": "f"}}


def test_tools_are_a_chats_since_every_api_gets_them_in_its_own_form() -> None:
    for sound in ({"tools": [CALLED], "tool_choice": CALLED}, {"tools": None, "tool_choice": "none"}):
        assert CHECK.validate_python(sound) == sound
    for tools in ([], "f", [CALLED, {"name": "f", "input_schema": {}}], [{"type": "function", "name": "f"}]):
        with pytest.raises(ValidationError, match=r"tools must list functions, each \{"):
            CHECK.validate_python({"tools": tools})
    for choice in ("any", {"type": "tool", "name": "f"}, {"type": "allowed_tools"}, True):
        with pytest.raises(ValidationError, match=r"tool_choice must be none, auto, required or \{"):
            CHECK.validate_python({"tool_choice": choice})


@pytest.mark.parametrize("most", [{"max_tokens": 5}, {"max_tokens": 9, "max_completion_tokens": 5}])
def test_more_tokens_at_least_than_at_most_are_refused(most: JsonObject) -> None:
    with pytest.raises(ValidationError, match="min_tokens must be 5 at most"):
        CHECK.validate_python({"min_tokens": 6, **most})


def test_a_request_is_told_of_the_same_ranges() -> None:
    assert COMMON["temperature"] == {"type": ["number", "null"], "minimum": 0, "maximum": 2}
    assert SamplingNumbers.model_fields.keys() <= COMMON.keys()
