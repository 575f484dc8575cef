"""What of a client's sampling a stage honours."""

from __future__ import annotations

import pytest

from gateway.config.document import JsonObject
from gateway.dialects.kinds import LABELS
from gateway.errors import InvalidRequest
from gateway.pipeline.stages.sampling import shared_sampling, stage_sampling, take_wishes
from tests.support.pipeline_script import chat


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n", 2),
        ("logprobs", True),
        ("stop", ["x"]),
        ("logit_bias", {"1": 2}),
        ("echo", True),
        ("guided_json", {}),
        ("made_up", 1),
        ("max_tokens", 0),
        ("max_tokens", "7"),
        ("skip_special_tokens", False),
        ("continue_final_message", True),
        ("length_penalty", 2.0),
        ("documents", [{"text": "x"}]),
        ("chat_template_kwargs", {"enable_thinking": False}),
    ],
)
def test_what_a_pipeline_cannot_honour_is_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(InvalidRequest) as caught:
        shared_sampling(chat("a", **{name: value}), "p")
    assert caught.value.param == name


def test_parameters_that_ask_for_nothing_pass() -> None:
    body = chat("a", n=1, logprobs=False, stop=None, user="u", stream=True, response_format={"type": "text"})
    body |= {"verbosity": "medium", "prompt_cache_retention": "24h", "prompt_cache_options": {}}
    body |= {"skip_special_tokens": True, "spaces_between_special_tokens": True, "length_penalty": 1.0}
    body |= {"add_special_tokens": False, "continue_final_message": False, "add_generation_prompt": True}
    body |= {"stop_token_ids": [], "bad_words": [], "documents": [], "chat_template_kwargs": {}}
    body |= {"include_stop_str_in_output": False, "return_token_ids": False, "stream_interval": 4}
    body |= {"reasoning_effort": "none"}  # what `thinking: {type: disabled}` is in a chat
    assert shared_sampling(body, "p") == ({}, None)


def test_labels_are_a_pipelines_as_they_are_its_tasks() -> None:
    assert shared_sampling(chat("a", **{**dict.fromkeys(LABELS, "flex"), "store": True}), "p") == ({}, None)


@pytest.mark.parametrize(("cap", "expected"), [(None, 24), (9, 9), (100, 24)])
def test_the_clients_max_tokens_only_lowers_a_stages_own(cap: int | None, expected: int) -> None:
    sampling = stage_sampling({"max_tokens": 24, "temperature": 0}, {"temperature": 1}, cap)
    assert sampling == {"max_tokens": expected, "temperature": 1}


def test_what_is_said_of_thinking_is_taken_and_named() -> None:
    """A pipeline's stages have their own; chat pages and frameworks send it to every model."""
    asked: JsonObject = {
        "chat_template_kwargs": {"enable_thinking": False},
        "reasoning_effort": "low",
        "output_config": {"effort": "low", "format": None},
        "temperature": 0,
    }
    named = ["chat_template_kwargs", "reasoning_effort", "output_config.effort"]
    assert take_wishes(asked) == named
    assert asked == {"output_config": {"format": None}, "temperature": 0}
