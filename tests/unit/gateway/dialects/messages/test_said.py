"""What a message says, whole or by its events."""

from __future__ import annotations

import json

from gateway.dialects.chat.said import Said
from gateway.dialects.messages.said import MessageReader

CONTENT = [{"type": "text", "text": "hi"}, {"type": "thinking", "thinking": "hm"}]


def test_whole_message() -> None:
    document = {"content": CONTENT, "stop_reason": "end_turn", "usage": {"output_tokens": 3}}
    assert MessageReader().whole(json.dumps(document).encode()) == Said("hi", "end_turn", 3)
    assert MessageReader().whole(b'{"error": {}}') is None


def test_calls_are_compared_without_their_ids() -> None:
    def calling(call_id: str, value: int) -> Said | None:
        block = {"type": "tool_use", "id": call_id, "name": "f", "input": {"x": value}}
        return MessageReader().whole(json.dumps({"content": [block]}).encode())

    assert calling("a", 1) == calling("b", 1) != calling("a", 2)


def test_events_add_up_to_the_message() -> None:
    reader = MessageReader()
    events = [
        {"type": "message_start", "message": {}},
        {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "h"}},
        {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "i"}},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}},
    ]
    for event in events:
        reader.feed(json.dumps(event).encode())
    assert reader.said() is None
    reader.feed(b'{"type": "message_stop"}')
    assert reader.said() == Said("hi", "end_turn", 3)
