"""Answers read and held against each other, and the records of it on disk."""

from __future__ import annotations

import json

import pytest

from gateway.dialects.chat.dialect import CHAT
from gateway.dialects.dialect import Dialect
from gateway.dialects.messages.dialect import MESSAGES
from gateway.dialects.responses.dialect import RESPONSES
from gateway.relay.shadow.comparison import MAX_PATHS, MAX_TEXT_BYTES, Gathered, compare, read_answer
from tests.fakes.fake_engine import recorded


def whole(**choice: object) -> bytes:
    return json.dumps(
        {"choices": [{"index": 0, **choice}], "usage": {"prompt_tokens": 1, "completion_tokens": 4}}
    ).encode()


@pytest.mark.parametrize(
    ("own", "other", "paths"),
    [
        ('{"a": 1, "b": [1, 2]}', '{"b": [1, 2], "a": 1.0}', []),
        ('{"concepts": [{"name": "x"}]}', '{"concepts": [{"name": "y"}]}', ["concepts[0].name"]),
        ('{"a": [1]}', '{"a": [1, 2]}', ["a.length"]),
        ('{"a": 1}', '{"b": 1}', ["a", "b"]),
        ("[1]", "[2]", ["[0]"]),
        ("[1]", '{"a": 1}', ["$"]),
        ('{"a": true}', '{"a": 1}', ["a"]),
        ('{"the secret text": 1}', '{"the secret text": 2}', ["*"]),
        ('{"a": null}', "{}", ["a"]),
    ],
)
def test_structured_answers_differ_by_their_fields(own: str, other: str, paths: list[str]) -> None:
    found = compare(own, other)
    assert (found.structured, list(found.paths), found.same) == (True, paths, not paths)


@pytest.mark.parametrize(
    ("own", "other", "same"),
    [("a", "a", True), ("a", "b", False), ('{"a": 1}', "no", False), ("1", "1", True)],
)
def test_other_answers_differ_as_text(own: str, other: str, same: bool) -> None:
    found = compare(own, other)
    assert (found.structured, found.paths, found.same) == (False, (), same)


def test_paths_are_bounded_in_number_and_depth() -> None:
    assert len(compare(json.dumps([0] * 99), json.dumps([1] * 99)).paths) == MAX_PATHS
    deep, other = ("[" * 100 + inner + "]" * 100 for inner in ("0", "1"))
    assert compare(deep, other).paths == ("[0]" * 16,)


def test_recorded_answers_are_read() -> None:
    for name in ("chat", "completion", "structured"):
        body = json.dumps(recorded(name)["body"]).encode()
        answer = read_answer(body, 1.5, CHAT)
        assert answer is not None
        assert answer.text
        assert answer.tokens
        assert (answer.finish_reason, answer.seconds) == (
            json.loads(body)["choices"][0]["finish_reason"],
            1.5,
        )


@pytest.mark.parametrize(("name", "dialect"), [("response", RESPONSES), ("message", MESSAGES)])
@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_recorded_answers_of_other_apis_are_read_alike_whole_and_streamed(
    name: str, dialect: Dialect, size: int
) -> None:
    whole = read_answer(json.dumps(recorded(name)["body"]).encode(), 1.5, dialect)
    events = recorded(f"{name}_stream")["events"]
    assert isinstance(events, list)
    data = "".join(f"{event}\n\n" for event in events).encode()
    gathered = Gathered(True, dialect)
    for at in range(0, len(data), size):
        gathered.feed(data[at : at + size])
    assert whole is not None
    assert whole.text
    assert whole.tokens
    assert whole.finish_reason
    assert gathered.answer(1.5) == whole


@pytest.mark.parametrize("dialect", [RESPONSES, MESSAGES])
def test_a_named_stream_that_breaks_off_is_no_answer(dialect: Dialect) -> None:
    name = "response_stream" if dialect is RESPONSES else "message_stream"
    events = recorded(name)["events"]
    assert isinstance(events, list)
    for ending in ("", 'event: error\ndata: {"type":"error"}\n\n'):
        gathered = Gathered(True, dialect)
        gathered.feed(("".join(f"{event}\n\n" for event in events[:-1]) + ending).encode())
        assert gathered.answer(0) is None


def test_calls_of_other_apis_are_compared_without_their_ids() -> None:
    response = {"output": [{"type": "function_call", "call_id": "c", "name": "f", "arguments": '{"x": 1}'}]}
    message = {"content": [{"type": "tool_use", "id": "i", "name": "f", "input": {"x": 1}}]}
    for document, dialect in ((response, RESPONSES), (message, MESSAGES)):
        answer = read_answer(json.dumps(document).encode(), 0, dialect)
        assert answer is not None
        assert answer.text == '[{"name":"f","arguments":{"x":1}}]'


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"choices":[]}', b'{"error":{}}', b'{"choices":3}'])
def test_what_is_no_answer_is_none(body: bytes) -> None:
    assert read_answer(body, 0, CHAT) is None


def test_tool_calls_are_compared_without_their_ids() -> None:
    texts = []
    for call_id in ("one", "two"):
        call = {"id": call_id, "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}
        answer = read_answer(whole(message={"content": None, "tool_calls": [call]}), 0, CHAT)
        assert answer is not None
        texts.append(answer.text)
    assert texts[0] == texts[1] == '[{"name":"f","arguments":{"x":1}}]'


@pytest.mark.parametrize("size", [1, 7, 10_000])
@pytest.mark.parametrize("name", ["chat_stream_usage", "completion_stream_usage", "structured_stream"])
def test_stream_is_gathered_however_it_is_cut(name: str, size: int) -> None:
    events = recorded(name)["events"]
    assert isinstance(events, list)
    text = "".join(f"{event}\n\n" for event in events)
    data = text.encode()
    gathered = Gathered(True, CHAT)
    for at in range(0, len(data), size):
        gathered.feed(data[at : at + size])
    answer = gathered.answer(2.0)
    assert answer is not None
    said = [
        choice.get("text") or choice.get("delta", {}).get("content") or ""
        for line in text.splitlines()
        if line.startswith("data: {")
        for choice in json.loads(line[6:])["choices"]
    ]
    assert answer.text == "".join(said) != ""
    assert answer.finish_reason in ("stop", "length")


@pytest.mark.parametrize(
    "stream",
    [
        b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n',
        b'data: {"error":{"message":"x"}}\n\ndata: [DONE]\n\n',
        b"data: nonsense\n\ndata: [DONE]\n\n",
        b'data: {"choices":[{"index":0,"delta":{"content":"%s"}}]}\n\ndata: [DONE]\n\n'
        % (b"a" * (MAX_TEXT_BYTES + 1)),
    ],
    ids=["unfinished", "error", "nonsense", "long"],
)
def test_stream_that_is_no_whole_answer_is_none(stream: bytes) -> None:
    gathered = Gathered(True, CHAT)
    gathered.feed(stream)
    assert gathered.answer(0) is None


def test_comments_in_a_stream_are_passed_over() -> None:
    gathered = Gathered(True, CHAT)
    gathered.feed(
        b': starting\n\ndata: {"choices":[{"text":"a","finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
    )
    answer = gathered.answer(0)
    assert answer is not None
    assert answer.text == "a"
