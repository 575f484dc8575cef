"""A message as a chat."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.relay.fallback.policy import ASKED
from tests.unit.gateway.relay.fallback.test_policy import SAID, SCHEMA, message


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
            {"output_config": {"effort": "low"}, "thinking": {"type": "disabled"}},
            {"reasoning_effort": "none"},
        ),
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


def test_labels_of_newer_clients_do_not_stand_in_the_way() -> None:
    call = {"type": "tool_use", "id": "t", "name": "f", "input": {}, "caller": {"type": "direct"}}
    tools = [{"name": "f", "input_schema": SCHEMA, "eager_input_streaming": True}]
    asked = message(messages=[*SAID, {"role": "assistant", "content": [call]}], tools=tools)
    assert asked["messages"][-1]["tool_calls"][0]["id"] == "t"
    assert asked["tools"][0]["function"] == {"name": "f", "parameters": SCHEMA}


def test_a_call_by_a_program_is_none_of_a_chats() -> None:
    caller = {"type": "code_execution_20260120", "tool_id": "s"}
    call = {"type": "tool_use", "id": "t", "name": "f", "input": {}, "caller": caller}
    assert "'tool_use.caller'" in str(message(messages=[{"role": "assistant", "content": [call]}]))
