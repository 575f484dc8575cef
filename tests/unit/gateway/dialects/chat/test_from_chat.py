"""A chat's answer as it is written on the routes of chats and texts."""

from __future__ import annotations

import json
from typing import Any

from gateway.config.document import JsonObject
from gateway.dialects.chat.from_chat import ChatRendering, TextRendering

USAGE: JsonObject = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}


def chunk(content: str | None = None, finish: str | None = None, **more: Any) -> JsonObject:
    delta: JsonObject = {} if content is None else {"content": content}
    return {"id": "chatcmpl-1", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more}


def events(data: bytes) -> list[Any]:
    return [json.loads(line[6:]) for line in data.decode().split("\n\n") if line.startswith("data: {")]


def test_chat_goes_through_and_its_usage_comes_last_where_it_is_wanted() -> None:
    rendering = ChatRendering("r", {}, True)
    first = events(rendering.piece(chunk("a")))
    assert first == [{**chunk("a"), "usage": None}]
    assert rendering.piece(chunk(usage=USAGE)) == b""  # it says nothing but the usage
    *_, last = events(rendering.end())
    assert (last["choices"], last["usage"]) == ([], USAGE)
    assert rendering.end().endswith(b"data: [DONE]\n\n")


def test_usage_that_nobody_wants_is_left_out() -> None:
    rendering = ChatRendering("r", {}, False)
    (event,) = events(rendering.piece(chunk("a", usage=USAGE)))
    assert "usage" not in event
    assert rendering.end() == b"data: [DONE]\n\n"


def test_text_completion_has_openais_older_form() -> None:
    whole = TextRendering("r", {}, False).whole(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "choices": [{"index": 0, "message": {"content": "hi"}, "finish_reason": "stop"}],
            "usage": USAGE,
        }
    )
    assert (whole["id"], whole["object"], whole["usage"]) == ("cmpl-1", "text_completion", USAGE)
    assert whole["choices"] == [{"index": 0, "text": "hi", "logprobs": None, "finish_reason": "stop"}]
    (event,) = events(TextRendering("r", {}, False).piece(chunk("a")))
    assert event["choices"][0]["text"] == "a"
    assert TextRendering("r", {}, False).piece(chunk()) == b""
