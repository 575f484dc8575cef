"""A chat's answer as OpenAI's response, whole and by its events."""

from __future__ import annotations

import json
from typing import Any

from openai.types.responses import Response

from gateway.config.document import JsonObject
from gateway.dialects.responses.from_chat import ResponseRendering

CALL: JsonObject = {"index": 0, "id": "c1", "function": {"name": "f", "arguments": "{}"}}


def whole(message: JsonObject, finish: str = "stop", **asked: Any) -> JsonObject:
    choice: JsonObject = {"message": message, "finish_reason": finish}
    usage: JsonObject = {"prompt_tokens": 3, "completion_tokens": 2}
    document: JsonObject = {"model": "m", "created": 9, "choices": [choice], "usage": usage}
    return ResponseRendering("7", asked, True).whole(document)


def test_openais_sdk_reads_it() -> None:
    found: Any = whole({"content": "hi", "tool_calls": [CALL]}, temperature=0.5)
    read = Response.model_validate(found)
    assert (read.id, read.output_text, read.status, read.temperature) == ("resp_7", "hi", "completed", 0.5)
    assert read.usage is not None
    assert read.usage.total_tokens == 5
    assert [item.type for item in read.output] == ["message", "function_call"]


def test_answer_that_was_cut_short_says_why() -> None:
    found = whole({"content": "x"}, "length")
    assert (found["status"], found["incomplete_details"]) == (
        "incomplete",
        {"reason": "max_output_tokens"},
    )


def test_empty_answer_is_a_message_too() -> None:
    output = whole({"content": ""})["output"]
    assert isinstance(output, list)
    assert len(output) == 1


def test_events_are_numbered_and_end_with_the_whole_answer() -> None:
    rendering = ResponseRendering("7", {}, True)
    data = rendering.piece({"model": "m", "choices": [{"delta": {"content": "hi"}}]})
    data += rendering.piece({"choices": [{"delta": {"tool_calls": [CALL]}, "finish_reason": "tool_calls"}]})
    data += rendering.end()
    found = [json.loads(line[6:]) for line in data.decode().split("\n") if line.startswith("data: ")]
    assert [event["sequence_number"] for event in found] == list(range(len(found)))
    assert [found[0]["type"], found[-1]["type"]] == ["response.created", "response.completed"]
    texts = [event["delta"] for event in found if event["type"] == "response.output_text.delta"]
    assert texts == ["hi"]
    assert Response.model_validate(found[-1]["response"]).output_text == "hi"
