"""What an answer of a chat says, so that two can be held against each other."""

from __future__ import annotations

import json

import pytest

from gateway.dialects.chat.said import ChoiceReader, Said, count_in, objects_in, parsed, with_calls


def whole(**document: object) -> Said | None:
    return ChoiceReader().whole(json.dumps(document).encode())


def fed(*events: object) -> ChoiceReader:
    reader = ChoiceReader()
    for event in events:
        reader.feed(event if isinstance(event, bytes) else json.dumps(event).encode())
    return reader


def test_first_of_several_answers_counts() -> None:
    choices = [
        {"index": 1, "message": {"content": "other"}},
        {"index": 0, "message": {"content": "hi"}, "finish_reason": "stop"},
    ]
    assert whole(choices=choices, usage={"completion_tokens": 4}) == Said("hi", "stop", 4)
    assert whole(choices=[{"text": "t"}]) == Said("t")


def test_calls_are_compared_without_their_ids_and_spacing() -> None:
    def calling(call_id: str, arguments: str) -> Said | None:
        call = {"id": call_id, "function": {"name": "f", "arguments": arguments}}
        return whole(choices=[{"message": {"content": None, "tool_calls": [call]}}])

    assert calling("a", '{"x": 1}') == calling("b", '{"x":1}') != calling("a", '{"x": 2}')


@pytest.mark.parametrize("document", [{}, {"choices": []}, {"choices": [{"index": 0}]}, {"choices": 5}])
def test_what_is_no_answer_is_none(document: dict[str, object]) -> None:
    assert whole(**document) is None


def test_stream_adds_up_and_counts_only_once_it_has_ended() -> None:
    pieces = [
        {"choices": [{"index": 0, "delta": {"content": "h"}}]},
        {"choices": [{"index": 1, "delta": {"content": "other"}}]},
        {"choices": [{"index": 0, "delta": {"content": "i"}, "finish_reason": "stop"}]},
        {"choices": [], "usage": {"completion_tokens": 2}},
    ]
    assert fed(*pieces).said() is None
    reader = fed(*pieces, b"[DONE]")
    assert (reader.said(), reader.size) == (Said("hi", "stop", 2), 2)


def test_error_in_a_stream_is_remembered() -> None:
    assert fed({"error": {"message": "x"}}).failed
    assert fed({"type": "error"}).failed
    assert not fed({"choices": [], "error": None}).failed
    with pytest.raises(ValueError):  # noqa: PT011  msgspec's own words
        fed(b"nonsense")


def test_members_of_any_form_are_read() -> None:
    assert objects_in({"a": [{"b": 1}, 5]}, "a") == [{"b": 1}]
    assert objects_in({"a": 5}, "a") == []
    assert count_in({"usage": {"n": 5}}, "n") == 5
    assert count_in({"usage": 5}, "n") == count_in({"usage": {"n": "x"}}, "n") == 0
    assert [parsed(one) for one in ("[1]", " {} ", "{", "x")] == [[1], {}, "{", "x"]
    assert with_calls("t", []) == "t"
