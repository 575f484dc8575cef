"""What a chat completion says, read from whatever a provider sent."""

from __future__ import annotations

import pytest

from gateway.config.document import JsonObject
from gateway.dialects.chat.answer import (
    CallPiece,
    calls_in,
    choice_of,
    detail_of,
    finish_of,
    said_in,
    usage_of,
    word_of,
)

CALL: JsonObject = {"id": "c", "function": {"name": "f", "arguments": "{}"}}
WHOLE: JsonObject = {
    "choices": [
        {
            "message": {
                "content": "hi",
                "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "{}"}}],
            },
            "finish_reason": "stop",
        }
    ],
    "usage": {
        "prompt_tokens": 3,
        "completion_tokens": 4,
        "prompt_tokens_details": {"cached_tokens": 2},
    },
}


def test_whole_answer_is_read() -> None:
    choice = choice_of(WHOLE)
    assert word_of(said_in(choice), "content") == "hi"
    assert calls_in(said_in(choice)) == [CallPiece(0, "c", "f", "{}")]
    assert finish_of(choice) == "stop"
    usage = usage_of(WHOLE)
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens) == (3, 4)
    assert detail_of(WHOLE, "prompt_tokens_details", "cached_tokens") == 2


def test_chunk_says_by_its_delta() -> None:
    chunk: JsonObject = {"choices": [{"delta": {"content": "h", "tool_calls": [{"index": 3}]}}]}
    assert word_of(said_in(choice_of(chunk)), "content") == "h"
    assert calls_in(said_in(choice_of(chunk))) == [CallPiece(3, "", "", "")]
    assert finish_of(choice_of(chunk)) is None


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"choices": []},
        {"choices": None},
        {"choices": ["x"]},
        {"choices": [{"message": 5, "finish_reason": 5}], "usage": 5},
        {"choices": [{"delta": {"tool_calls": 5, "content": None}}], "usage": {"prompt_tokens": "x"}},
        {"choices": [{"delta": {"tool_calls": ["x"]}}], "usage": {"prompt_tokens_details": 5}},
    ],
)
def test_what_is_not_said_is_empty_and_no_fault(document: JsonObject) -> None:
    choice = choice_of(document)
    assert (word_of(said_in(choice), "content"), calls_in(said_in(choice)), finish_of(choice)) == (
        "",
        [],
        None,
    )
    assert detail_of(document, "prompt_tokens_details", "cached_tokens") == 0
    usage_of(document)
