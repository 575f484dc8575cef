"""Parts of a request, taken only where a chat has a word for all of them."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.dialects.chat.request_parts import (
    CannotAsk,
    call_of,
    chosen,
    content_of,
    items_of,
    only,
    text_of,
    texts_of,
    tools_of,
)

PART = frozenset({"type", "text"})


def test_text_is_itself_or_parts_without_the_empty_ones() -> None:
    assert texts_of("hi", ("text",), PART) == ["hi"]
    assert texts_of("", ("text",), PART) == []
    parts: Any = [{"type": "text", "text": "a"}, {"type": "text", "text": ""}, {"type": "text", "text": "b"}]
    assert texts_of(parts, ("text",), PART) == ["a", "b"]
    assert content_of(["a", "b"]) == [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert (content_of(["a"]), content_of([])) == ("a", "")


@pytest.mark.parametrize(
    "content",
    [5, [5], [{"type": "image"}], [{"type": "text", "text": 5}], [{"type": "text", "text": "a", "odd": 1}]],
)
def test_what_a_chat_has_no_word_for_cannot_be_asked(content: Any) -> None:
    with pytest.raises(CannotAsk):
        texts_of(content, ("text",), PART)


def test_members_that_are_not_known_cannot_be_asked() -> None:
    assert only({"type": "x"}, PART, "here") == {"type": "x"}
    with pytest.raises(CannotAsk, match="odd"):
        only({"odd": 1}, PART, "here")
    with pytest.raises(CannotAsk, match="here"):
        text_of(5, "here")
    with pytest.raises(CannotAsk):
        items_of({}, "here")


def test_tools_and_calls_have_openais_form() -> None:
    read = tools_of([{"a": 1}], lambda tool, where: {"name": where})
    assert read == {"tools": [{"type": "function", "function": {"name": "tools[0]"}}]}
    assert tools_of([], lambda tool, where: {}) == tools_of(None, lambda tool, where: {}) == {}
    assert chosen("f") == {"type": "function", "function": {"name": "f"}}
    assert call_of("c", "f", "{}", "x") == {
        "id": "c",
        "type": "function",
        "function": {"name": "f", "arguments": "{}"},
    }
    with pytest.raises(CannotAsk):
        call_of("c", None, "{}", "x")
