"""On `/v1/responses`: a chat's calls and results are read as the items that they mean, or named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.dialects.responses.dialect import RESPONSES
from gateway.errors import InvalidRequest
from tests.unit.gateway.dialects.responses.test_history import USER, sent

FUNCTION = {"name": "f", "arguments": '{"a":1}'}
CALL = {"id": "c", "type": "function", "function": FUNCTION}
CALLED = {"type": "function_call", "call_id": "c", "name": "f", "arguments": '{"a":1}'}
RESULT = {"type": "function_call_output", "call_id": "c", "output": "x"}


@pytest.mark.parametrize(
    ("message", "items"),
    [
        ({"role": "tool", "tool_call_id": "c", "content": "x"}, [RESULT]),
        ({"type": "message", "role": "tool", "tool_call_id": "c", "name": "f", "content": "x"}, [RESULT]),
        (
            {
                "role": "tool",
                "tool_call_id": "c",
                "content": [{"type": "text", "text": "x"}, {"type": "input_text", "text": "y"}],
            },
            [{**RESULT, "output": "x\ny"}],
        ),
        ({"role": "assistant", "content": None, "tool_calls": [CALL]}, [CALLED]),
        ({"role": "assistant", "content": "", "tool_calls": [CALL]}, [CALLED]),
        (
            {"role": "assistant", "content": "I look.", "tool_calls": [CALL, {**CALL, "id": "d"}]},
            [{"role": "assistant", "content": "I look."}, CALLED, {**CALLED, "call_id": "d"}],
        ),
        (
            {"role": "assistant", "content": [{"type": "text", "text": "I look."}], "tool_calls": [CALL]},
            [{"role": "assistant", "content": "I look."}, CALLED],
        ),
        (
            {
                "role": "assistant",
                "tool_calls": [{"id": "c", "function": {**FUNCTION, "arguments": {"a": 1}}}],
            },
            [CALLED],
        ),
    ],
)
def test_calls_and_results_of_a_chat(tmp_path: Path, message: dict[str, Any], items: list[Any]) -> None:
    assert sent(RESPONSES, tmp_path, [USER, message, USER]) == ([USER, *items, USER], [])


@pytest.mark.parametrize(
    ("message", "place"),
    [
        ({"role": "tool", "content": "x"}, "input[1].tool_call_id"),
        ({"role": "tool", "tool_call_id": "c"}, "input[1].content"),
        ({"role": "tool", "tool_call_id": "c", "content": [{"type": "image_url"}]}, "input[1].content"),
        ({"role": "function", "name": "f", "content": "x"}, "input[1].role"),
        ({"role": "assistant", "content": None, "function_call": FUNCTION}, "input[1].function_call"),
        ({"role": "assistant", "tool_calls": ["f"]}, "input[1].tool_calls[0]"),
        ({"role": "assistant", "tool_calls": [{**CALL, "type": "custom"}]}, "input[1].tool_calls[0]"),
        ({"role": "assistant", "tool_calls": [{**CALL, "id": None}]}, "input[1].tool_calls[0].id"),
        (
            {"role": "assistant", "tool_calls": [{**CALL, "function": {"arguments": "{}"}}]},
            "input[1].tool_calls[0].function.name",
        ),
        (
            {"role": "assistant", "tool_calls": [{**CALL, "function": {"name": "f"}}]},
            "input[1].tool_calls[0].function.arguments",
        ),
    ],
)
def test_what_means_no_item_is_named(tmp_path: Path, message: dict[str, Any], place: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        sent(RESPONSES, tmp_path, [USER, message])
    assert caught.value.param == place
    assert caught.value.message.startswith(f"'{place}' ")


@pytest.mark.parametrize(
    "message",
    [
        {"role": "tool", "tool_call_id": "c", "content": "x"},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
    ],
)
def test_a_strict_gateway_says_what_to_send(tmp_path: Path, message: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match="function_call_output") as caught:
        sent(RESPONSES, tmp_path, [message], strict=True)
    assert caught.value.param == "input[0]"


def test_what_an_argument_says_is_not_touched(tmp_path: Path) -> None:
    """Nor is a message without calls, whatever its list of them is."""
    call = {**CALLED, "arguments": '{"role": "tool", "tool_calls": []}'}
    said = {"role": "assistant", "content": "a", "tool_calls": None}
    assert sent(RESPONSES, tmp_path, [USER, call, said, RESULT]) == ([USER, call, said, RESULT], [])
