"""A chat's answer as Anthropic's message, whole and by its events."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.config.document import JsonObject
from gateway.dialects.messages.from_chat import MessageRendering
from gateway.errors import ProviderFailed

CALL: JsonObject = {"index": 0, "id": "c1", "function": {"name": "f", "arguments": '{"x": 1}'}}


def whole(message: JsonObject, finish: str = "stop", usage: JsonObject | None = None) -> JsonObject:
    document: JsonObject = {"model": "m", "choices": [{"message": message, "finish_reason": finish}]}
    return MessageRendering("7", {}, True).whole({**document, "usage": usage})


def events(data: bytes) -> list[Any]:
    return [json.loads(line[6:]) for line in data.decode().split("\n") if line.startswith("data: ")]


def test_text_and_calls_become_blocks() -> None:
    found = whole({"content": "hi", "tool_calls": [CALL]})
    assert (found["id"], found["role"], found["model"]) == ("msg_7", "assistant", "m")
    assert found["content"] == [
        {"type": "text", "text": "hi"},
        {"type": "tool_use", "id": "c1", "name": "f", "input": {"x": 1}},
    ]
    assert found["stop_reason"] == "tool_use"


@pytest.mark.parametrize(
    ("finish", "reason"), [("stop", "end_turn"), ("length", "max_tokens"), ("content_filter", "refusal")]
)
def test_reasons(finish: str, reason: str) -> None:
    assert whole({"content": "x"}, finish)["stop_reason"] == reason


def test_what_came_from_a_cache_is_counted_apart() -> None:
    usage: JsonObject = {
        "prompt_tokens": 10,
        "completion_tokens": 2,
        "prompt_tokens_details": {"cached_tokens": 4},
    }
    assert whole({"content": "x"}, usage=usage)["usage"] == {
        "input_tokens": 6,
        "output_tokens": 2,
        "cache_read_input_tokens": 4,
    }


def test_call_whose_arguments_are_no_object_is_the_providers_fault() -> None:
    broken: JsonObject = {"id": "c", "function": {"name": "f", "arguments": "[1"}}
    with pytest.raises(ProviderFailed, match="no JSON object"):
        whole({"tool_calls": [broken]})


def test_stream_opens_and_closes_each_block() -> None:
    rendering = MessageRendering("7", {}, True)
    deltas: list[JsonObject] = [{"content": "h"}, {"content": "i"}, {"tool_calls": [CALL]}]
    data = b"".join(rendering.piece({"choices": [{"delta": delta}]}) for delta in deltas)
    data += rendering.piece({"choices": [{"delta": {}, "finish_reason": "tool_calls"}]}) + rendering.end()
    found = events(data)
    assert [event["type"] for event in found] == [
        *("message_start", "content_block_start", "content_block_delta", "content_block_delta"),
        *("content_block_stop", "content_block_start", "content_block_delta", "content_block_stop"),
        *("message_delta", "message_stop"),
    ]
    assert found[6]["delta"] == {"type": "input_json_delta", "partial_json": '{"x": 1}'}
    assert found[-2]["delta"]["stop_reason"] == "tool_use"
