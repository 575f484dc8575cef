"""Which requests a fallback can be asked in a chat."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.dialects.dialect import Dialect
from gateway.dialects.messages.dialect import MESSAGES
from gateway.dialects.responses.dialect import RESPONSES
from gateway.relay.fallback.policy import ASKED, KEPT_BACK, Unable, question

SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}


SAID: Any = [{"role": "user", "content": "cat"}]


def message(**fields: Any) -> Any:
    return question(MESSAGES, {"messages": SAID, "max_tokens": 9, **fields})


def response(**fields: Any) -> Any:
    return question(RESPONSES, {"input": "cat", "store": False, **fields})


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"system": "s"}, {"messages": [{"role": "system", "content": "s"}, *SAID]}),
        (
            {"system": [{"type": "text", "text": "a", "cache_control": {}}, {"type": "text", "text": "b"}]},
            {"messages": [{"role": "system", "content": "ab"}, *SAID]},
        ),
        ({"system": [{"type": "text", "text": "x-anthropic-billing-header: 1"}]}, {"messages": SAID}),
        (
            {"messages": [{"role": "system", "content": "s"}]},
            {"messages": [{"role": "system", "content": "s"}]},
        ),
        ({"temperature": 0.5, "top_p": 0.9}, {"temperature": 0.5, "top_p": 0.9, "max_tokens": 9}),
        ({"stop_sequences": ["x"]}, {"stop": ["x"]}),
        ({"stop_sequences": []}, {"stop": None}),
        ({"output_config": {"effort": "low"}}, {"reasoning_effort": "low"}),
        (
            {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True},
                }
            },
        ),
        (
            {"tools": [{"name": "f", "description": "d", "input_schema": SCHEMA, "cache_control": {}}]},
            {
                "tools": [
                    {"type": "function", "function": {"name": "f", "description": "d", "parameters": SCHEMA}}
                ]
            },
        ),
        (
            {
                "tools": [{"type": "custom", "name": "f", "input_schema": SCHEMA, "strict": True}],
                "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
            },
            {
                "tools": [
                    {"type": "function", "function": {"name": "f", "strict": True, "parameters": SCHEMA}}
                ],
                "tool_choice": "required",
                "parallel_tool_calls": False,
            },
        ),
        (
            {"tool_choice": {"type": "tool", "name": "f"}, "tools": [{"name": "f", "input_schema": SCHEMA}]},
            {"tool_choice": {"type": "function", "function": {"name": "f"}}},
        ),
        ({"tool_choice": {"type": "auto"}}, {"tool_choice": None}),
        ({"metadata": {"user_id": "u"}, "service_tier": "auto", "cache_control": {}}, {"metadata": None}),
    ],
)
def test_message_is_asked_whole(fields: dict[str, Any], expected: dict[str, Any]) -> None:
    asked = message(**fields)
    assert {key: asked.get(key) for key in expected} == expected
    assert asked.keys() <= ASKED | {"messages"}


def test_messages_tools_and_their_results_are_asked() -> None:
    asked = message(
        messages=[
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            {
                "role": "assistant",
                "content": [
                    {"type": "text", "text": "let me see"},
                    {"type": "tool_use", "id": "t1", "name": "f", "input": {"x": 1}},
                ],
            },
            {"role": "assistant", "content": [{"type": "tool_use", "id": "t2", "name": "g", "input": {}}]},
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "t1", "content": "r", "is_error": False},
                    {"type": "tool_result", "tool_use_id": "t2", "content": [{"type": "text", "text": "q"}]},
                    {"type": "text", "text": "and now?"},
                ],
            },
        ]
    )
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    first = {"id": "t1", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}}
    second = {"id": "t2", "type": "function", "function": {"name": "g", "arguments": "{}"}}
    assert asked["messages"] == [
        {"role": "user", "content": parts},
        {"role": "assistant", "content": "let me see", "tool_calls": [first]},
        {"role": "assistant", "content": None, "tool_calls": [second]},
        {"role": "tool", "tool_call_id": "t1", "content": "r"},
        {"role": "tool", "tool_call_id": "t2", "content": "q"},
        {"role": "user", "content": "and now?"},
    ]


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"top_k": 3}, "it cannot honour 'top_k'"),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, "it cannot honour 'thinking'"),
        ({"thinking": {"type": "disabled"}}, "it cannot honour 'thinking'"),
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
    ("fields", "expected"),
    [
        ({"instructions": "s"}, {"messages": [{"role": "system", "content": "s"}, *SAID]}),
        (
            {"input": [{"role": "developer", "content": [{"type": "input_text", "text": "d"}]}]},
            {"messages": [{"role": "developer", "content": "d"}]},
        ),
        ({"max_output_tokens": 5, "seed": 1, "stop": "x"}, {"max_tokens": 5, "seed": 1, "stop": "x"}),
        (
            {"presence_penalty": 1.0, "frequency_penalty": 0.5},
            {"presence_penalty": 1.0, "frequency_penalty": 0.5},
        ),
        ({"reasoning": {"effort": "low", "summary": None}}, {"reasoning_effort": "low"}),
        ({"text": {"format": {"type": "text"}, "verbosity": "medium"}}, {"response_format": None}),
        ({"text": {"format": {"type": "json_object"}}}, {"response_format": {"type": "json_object"}}),
        (
            {"text": {"format": {"type": "json_schema", "name": "n", "schema": SCHEMA, "strict": True}}},
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "n", "schema": SCHEMA, "strict": True},
                }
            },
        ),
        (
            {"tools": [TOOL], "tool_choice": {"type": "function", "name": "f"}, "parallel_tool_calls": False},
            {
                "tools": [
                    {"type": "function", "function": {"name": "f", "parameters": SCHEMA, "strict": True}}
                ],
                "tool_choice": {"type": "function", "function": {"name": "f"}},
                "parallel_tool_calls": False,
            },
        ),
        ({"tools": [TOOL], "tool_choice": "required"}, {"tool_choice": "required"}),
        (
            {"tools": [], "tool_choice": "auto", "parallel_tool_calls": True},
            {"tools": None, "tool_choice": None, "parallel_tool_calls": None},
        ),
        (
            {
                "include": ["reasoning.encrypted_content"],
                "truncation": "disabled",
                "background": False,
                "max_tool_calls": 3,
                "top_logprobs": 0,
                "enable_response_messages": False,
                "user": "u",
                "metadata": {"a": "b"},
                "session_id": "s",
                "prompt_cache_key": "k",
            },
            {"messages": SAID},
        ),
    ],
)
def test_response_is_asked_whole(fields: dict[str, Any], expected: dict[str, Any]) -> None:
    asked = response(**fields)
    assert {key: asked.get(key) for key in expected} == expected
    assert asked.keys() <= ASKED | {"messages"}


def test_responses_own_items_are_asked() -> None:
    def call(name: str) -> dict[str, Any]:
        return {"type": "function_call", "call_id": f"c-{name}", "name": name, "arguments": "{}", "id": "fc"}

    output: dict[str, Any] = {"type": "output_text", "text": "hm", "annotations": [], "logprobs": None}
    asked = response(
        input=[
            {"role": "user", "content": "cat"},
            {"type": "message", "role": "assistant", "content": [output], "id": "m", "status": "completed"},
            call("f"),
            call("g"),
            {"type": "function_call_output", "call_id": "c-f", "output": "one"},
            {
                "type": "function_call_output",
                "call_id": "c-g",
                "output": [{"type": "input_text", "text": "two"}],
            },
            call("h"),
            {"role": "assistant", "content": "so"},
        ]
    )
    calls = {
        name: {"id": f"c-{name}", "type": "function", "function": {"name": name, "arguments": "{}"}}
        for name in "fgh"
    }
    assert asked["messages"] == [
        {"role": "user", "content": "cat"},
        {"role": "assistant", "content": "hm", "tool_calls": [calls["f"], calls["g"]]},
        {"role": "tool", "tool_call_id": "c-f", "content": "one"},
        {"role": "tool", "tool_call_id": "c-g", "content": "two"},
        {"role": "assistant", "content": "so", "tool_calls": [calls["h"]]},
    ]


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
