"""Errors about a chat, told in the names and the count of the request that it was made of."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.dialects.dialect import Dialect
from gateway.dialects.messages.dialect import MESSAGES
from gateway.dialects.responses.dialect import RESPONSES
from gateway.errors import InvalidRequest

CALLS: list[Any] = [
    {"role": "user", "content": "a"},
    {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
    {"type": "function_call", "call_id": "d", "name": "g", "arguments": "{}"},
    {"type": "function_call_output", "call_id": "c", "output": "x"},
    {"type": "reasoning", "summary": []},
    {"role": "user", "content": [{"type": "input_text", "text": "a"}, {"type": "input_image"}]},
]
RESULTS: list[Any] = [
    {
        "role": "user",
        "content": [
            {"type": "tool_result", "tool_use_id": "t", "content": "x"},
            {"type": "tool_result", "tool_use_id": "u", "content": "y"},
            {"type": "text", "text": "and now?"},
        ],
    },
    {"role": "user", "content": [{"type": "image", "source": {}}]},
]


@pytest.mark.parametrize(
    ("dialect", "body", "places"),
    [
        (
            RESPONSES,
            {"instructions": "s", "input": CALLS},
            ["instructions", "input[0]", "input[1]", "input[3]", "input[4]", "input[5]"],
        ),
        (
            MESSAGES,
            {"system": [{"type": "text", "text": "s"}], "messages": RESULTS},
            ["system", "messages[0]", "messages[0]", "messages[0]", "messages[1]"],
        ),
    ],
)
def test_each_message_has_its_place_in_the_request(dialect: Dialect, body: Any, places: list[str]) -> None:
    chat = dialect.as_chat(body)
    assert (chat.places, len(chat.messages)) == (places, len(places))
    assert "text only" in str(chat.unsaid)
    assert chat.messages[-1] == (CALLS if dialect is RESPONSES else RESULTS)[-1]


@pytest.mark.parametrize(
    ("param", "message", "told_param", "told_message"),
    [
        (
            "messages[5].content[1]",
            "'messages[5].content[1]' is none",
            "input[5].content[1]",
            "'input[5].content[1]' is none",
        ),
        ("messages[0].content", "'messages[0].content' is bad", "instructions", "'instructions' is bad"),
        ("messages", "'messages' must be a list", "input", "'input' must be a list"),
        ("max_tokens", "cut by max_tokens=2", "max_output_tokens", "cut by max_output_tokens=2"),
        ("response_format", "'response_format' is wide", "text.format", "'text.format' is wide"),
        ("seed", "no 'seed'", "seed", "no 'seed'"),
    ],
)
def test_an_error_names_what_the_client_sent(
    param: str, message: str, told_param: str, told_message: str
) -> None:
    chat = RESPONSES.as_chat({"instructions": "s", "input": CALLS})
    told = chat.told(InvalidRequest(message, param=param, code="c", status=422))
    assert (told.param, told.message, told.code, told.status) == (told_param, told_message, "c", 422)


def test_a_parameter_without_a_name_in_the_request_leaves_the_error_as_it_is() -> None:
    error = InvalidRequest("x")
    assert MESSAGES.as_chat({"messages": RESULTS}).told(error) is error
