"""A response's request as a chat."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.relay.fallback.policy import ASKED
from tests.unit.gateway.relay.fallback.test_policy import SAID, SCHEMA, TOOL, response


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


def test_labels_of_newer_clients_do_not_stand_in_the_way() -> None:
    part = {"type": "input_text", "text": "a", "prompt_cache_breakpoint": {"mode": "explicit"}}
    direct = {"call_id": "c", "name": "f", "caller": {"type": "direct"}}
    asked = response(
        input=[
            {"role": "user", "content": [part]},
            {"type": "function_call", "arguments": "{}", **direct},
            {"type": "function_call_output", "output": "x", **direct},
        ]
    )
    assert [one["content"] for one in asked["messages"]] == ["a", None, "x"]


@pytest.mark.parametrize("kind", ["function_call", "function_call_output"])
def test_a_call_by_a_program_is_none_of_a_chats(kind: str) -> None:
    item = {"type": kind, "call_id": "c", "name": "f", "caller": {"type": "program", "caller_id": "p"}}
    more = {"arguments": "{}"} if kind == "function_call" else {"output": "x"}
    assert f"'{kind}.caller'" in str(response(input=[{**item, **more}]))
