"""What a response says, whole or by its last event."""

from __future__ import annotations

import json
from typing import Any

from gateway.dialects.chat.said import Said
from gateway.dialects.responses.said import ResponseReader


def response(*items: dict[str, Any]) -> dict[str, Any]:
    return {"output": list(items), "status": "completed", "usage": {"output_tokens": 3}}


TEXT = {"type": "message", "content": [{"type": "output_text", "text": "hi"}]}


def test_whole_response() -> None:
    found = ResponseReader().whole(json.dumps(response(TEXT)).encode())
    assert found is not None
    assert (found.text, found.tokens) == ("hi", 3)
    assert ResponseReader().whole(b'{"error": {}}') is None


def test_calls_are_compared_without_their_ids() -> None:
    def calling(call_id: str, arguments: str) -> Said | None:
        item = {"type": "function_call", "call_id": call_id, "name": "f", "arguments": arguments}
        return ResponseReader().whole(json.dumps(response(item)).encode())

    assert calling("a", '{"x": 1}') == calling("b", '{"x":1}') != calling("a", '{"x": 2}')


def test_last_event_has_the_whole_answer_once_more() -> None:
    reader = ResponseReader()
    reader.feed(b'{"type": "response.output_text.delta", "delta": "hi"}')
    assert reader.said() is None
    reader.feed(json.dumps({"type": "response.completed", "response": response(TEXT)}).encode())
    said = reader.said()
    assert said is not None
    assert (said.text, said.tokens) == ("hi", 3)
