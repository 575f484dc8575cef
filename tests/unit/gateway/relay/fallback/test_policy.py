"""Which requests a fallback can be asked in a chat."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.dialects.dialect import Dialect
from gateway.dialects.messages.dialect import MESSAGES
from gateway.dialects.responses.dialect import RESPONSES
from gateway.relay.fallback.policy import KEPT_BACK, Unable, question

SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}


SAID: Any = [{"role": "user", "content": "cat"}]


def message(**fields: Any) -> Any:
    return question(MESSAGES, {"messages": SAID, "max_tokens": 9, **fields})


def response(**fields: Any) -> Any:
    return question(RESPONSES, {"input": "cat", "store": False, **fields})


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"top_k": 3}, "it cannot honour 'top_k'"),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, "it cannot honour 'thinking'"),
        ({"thinking": {"type": "adaptive"}}, "it cannot honour 'thinking'"),
        ({"chat_template_kwargs": {"x": 1}}, "it cannot honour 'chat_template_kwargs'"),
        ({"output_config": {"task_budget": 3}}, "it cannot honour 'output_config.task_budget'"),
        ({"output_config": {"format": {"type": "x"}}}, "it cannot honour 'output_config.format'"),
        ({"tools": [{"name": "f", "input_schema": {}, "defer_loading": True}]}, "'tools[0].defer_loading'"),
        ({"tools": [{"name": "f", "input_schema": {}, "input_examples": []}]}, "'tools[0].input_examples'"),
        ({"tool_choice": {"type": "some"}, "tools": [{"name": "f"}]}, "'tool_choice.type'"),
        ({"messages": 3}, "'messages'"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "'messages.role'"),
        ({"messages": [{"role": "user", "content": [{"type": "image", "source": {}}]}]}, "text only"),
        (
            {"messages": [{"role": "assistant", "content": [{"type": "thinking", "thinking": "x"}]}]},
            "text only",
        ),
        ({"messages": [{"role": "user", "content": [{"type": "tool_use", "id": "x"}]}]}, "text only"),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {"type": "tool_result", "tool_use_id": "x", "content": [{"type": "image"}]}
                        ],
                    }
                ]
            },
            "text only",
        ),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {"type": "tool_result", "tool_use_id": "x", "content": "no", "is_error": True}
                        ],
                    }
                ]
            },
            "'tool_result.is_error'",
        ),
        ({"system": [{"type": "text", "text": "s", "citations": [1]}]}, "'content.citations'"),
    ],
)
def test_message_that_a_chat_has_no_word_for_is_not_asked(fields: dict[str, Any], why: str) -> None:
    asked = message(**fields)
    assert isinstance(asked, Unable)
    assert why in asked.why


TOOL = {"type": "function", "name": "f", "parameters": SCHEMA, "strict": True}


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"top_k": 3}, "'top_k'"),
        ({"logit_bias": {"5": 1}}, "'logit_bias'"),
        ({"structured_outputs": {"regex": "a"}}, "'structured_outputs'"),
        ({"truncation": "auto"}, "'truncation'"),
        ({"include": ["message.output_text.logprobs"], "top_logprobs": 2}, "'include'"),
        ({"top_logprobs": 2}, "'top_logprobs'"),
        ({"include_reasoning": True}, "'include_reasoning'"),
        ({"enable_response_messages": True}, "'enable_response_messages'"),
        ({"reasoning": {"effort": "low", "summary": "auto"}}, "'reasoning.summary'"),
        ({"text": {"verbosity": "low"}}, "'text.verbosity'"),
        ({"text": {"format": {"type": "grammar"}}}, "'text.format.type'"),
        ({"tools": [{"type": "custom", "name": "f"}]}, "'tools[0].type'"),
        ({"tools": [TOOL], "tool_choice": {"type": "custom", "name": "f"}}, "'tool_choice.type'"),
        ({"input": 3}, "'input'"),
        ({"input": [{"type": "reasoning", "summary": []}]}, "text only"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]}, "text only"),
        ({"input": [{"type": "function_call", "name": "f", "arguments": "{}"}]}, "'function_call.call_id'"),
        ({"input": [{"role": "user", "content": [{"type": [], "text": "x"}]}]}, "text only"),
        ({"input": [{"role": "critic", "content": "x"}]}, "'input.role'"),
    ],
)
def test_response_that_a_chat_has_no_word_for_is_not_asked(fields: dict[str, Any], why: str) -> None:
    asked = response(**fields)
    assert isinstance(asked, Unable)
    assert why in asked.why


TAKEN = {
    MESSAGES: {
        *("max_tokens", "temperature", "top_p"),
        *("messages", "system", "stop_sequences", "tools", "tool_choice", "output_config"),
    },
    RESPONSES: {
        *("temperature", "top_p", "seed", "stop", "presence_penalty", "frequency_penalty"),
        *("parallel_tool_calls", "include", "truncation", "background", "enable_response_messages"),
        *("max_tool_calls", "top_logprobs", "input", "instructions", "max_output_tokens", "text", "tools"),
        *("tool_choice", "reasoning"),
    },
}


@pytest.mark.parametrize("dialect", [MESSAGES, RESPONSES])
def test_what_a_route_takes_anew_is_not_asked_until_somebody_says_what_it_means_in_a_chat(
    dialect: Dialect,
) -> None:
    assert dialect.passed >= TAKEN[dialect]
    assert not KEPT_BACK & TAKEN[dialect]
    asked: Any = {"messages": SAID, "input": "cat"}
    for key in dialect.passed - TAKEN[dialect] - KEPT_BACK - dialect.labels:
        refused = question(dialect, {dialect.prompt: asked[dialect.prompt], key: "x"})
        assert isinstance(refused, Unable), key
        assert f"'{key}'" in refused.why
