"""An answer cut into texts and calls, however its pieces come."""

from __future__ import annotations

import pytest

from gateway.config.document import JsonObject
from gateway.dialects.chat.answer_blocks import named
from gateway.dialects.messages.from_chat import MessageRendering
from gateway.errors import ProviderFailed


def call(index: int, call_id: str = "", name: str = "", arguments: str = "") -> JsonObject:
    return {"index": index, "id": call_id, "function": {"name": name, "arguments": arguments}}


def fed(*calls: JsonObject) -> MessageRendering:
    rendering = MessageRendering("7", {}, True)
    for one in calls:
        rendering.piece({"choices": [{"delta": {"tool_calls": [one]}}]})
    return rendering


def test_pieces_of_a_call_are_put_together() -> None:
    made = fed(call(0, "a", "f", '{"x"'), call(0, "", "", ": 1}"), call(1, "b", "g", "{}"))
    assert [(one.call.id, one.call.name, one.text) for one in made.blocks if one.call] == [
        ("a", "f", '{"x": 1}'),
        ("b", "g", "{}"),
    ]


def test_a_piece_without_an_id_is_of_the_last_call_of_its_index() -> None:
    made = fed(call(0, "a", "f", "{}"), call(0, "b", "g", '{"x"'), call(0, "", "", ": 1}"))
    assert [block.text for block in made.blocks] == ["{}", '{"x": 1}']


def test_call_without_an_id_gets_one() -> None:
    (block,) = fed(call(0, "", "f", "{}")).blocks
    assert block.call is not None
    assert block.call.id == "call_7_0"


def test_pieces_that_come_mixed_are_the_providers_fault() -> None:
    with pytest.raises(ProviderFailed, match="came mixed"):
        fed(call(0, "a", "f", "{"), call(1, "b", "g", "{"), call(0, "", "", "}"))


def test_usage_of_a_pipeline_keeps_its_stages() -> None:
    rendering = MessageRendering("7", {}, True)
    rendering.piece(
        {"choices": [], "usage": {"prompt_tokens": 0, "completion_tokens": 0, "stages": [{"a": 1}]}}
    )
    assert rendering.counted.by_stage == {"stages": [{"a": 1}]}
    assert MessageRendering("7", {}, True).counted.by_stage == {}


def test_event_is_named_by_its_type() -> None:
    assert named({"type": "x.y", "a": 1}) == b'event: x.y\ndata: {"type":"x.y","a":1}\n\n'
