"""On `/v1/messages`: what of another server's conversation is kept."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from gateway.dialects.dialect import Dialect
from gateway.dialects.messages.dialect import COUNT_TOKENS, MESSAGES
from gateway.errors import InvalidRequest
from tests.unit.gateway.dialects.responses.test_history import USER, sent


def text(said: str) -> dict[str, str]:
    return {"type": "text", "text": said}


def document(**source: object) -> dict[str, object]:
    return {"type": "document", "source": source, "title": "T"}


PLAIN = {"type": "text", "media_type": "text/plain", "data": "abc"}


CODED = {"type": "base64", "media_type": "text/markdown", "data": base64.b64encode("é".encode()).decode()}


@pytest.mark.parametrize("dialect", [MESSAGES, COUNT_TOKENS], ids=lambda one: one.name)
@pytest.mark.parametrize(
    ("block", "kept", "named"),
    [
        (document(**PLAIN), text("T\nabc"), []),
        (document(**CODED), text("T\né"), []),
        (document(type="content", content=[text("x"), text("y")]), text("T\nx\ny"), []),
        ({"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}, None, [".content[0]"]),
        ({"type": "web_search_tool_result", "tool_use_id": "s", "content": []}, None, [".content[0]"]),
        ({"type": "search_result", "title": "T", "source": "s", "content": [text("x")]}, text("T\ns\nx"), []),
        ({"type": "compaction", "content": "so far"}, text("so far"), []),
        ({"type": "code_execution_tool_result", "content": {"stdout": "1", "stderr": ""}}, text("1"), []),
        (
            {
                "type": "tool_result",
                "tool_use_id": "t",
                "content": [document(**PLAIN), {"type": "container_upload"}],
            },
            {"type": "tool_result", "tool_use_id": "t", "content": [text("T\nabc")]},
            [".content[0].content[1]"],
        ),
    ],
)
def test_blocks(tmp_path: Path, dialect: Dialect, block: object, kept: object, named: list[str]) -> None:
    found, ignored = sent(dialect, tmp_path, [USER, {"role": "user", "content": [block, text("z")]}])
    assert found == [USER, {"role": "user", "content": [*([kept] if kept else []), text("z")]}]
    assert ignored == [f"messages[1]{place}" for place in named]


def test_a_message_of_nothing_else_goes_too(tmp_path: Path) -> None:
    called = {
        "role": "assistant",
        "content": [{"type": "server_tool_use", "id": "s", "name": "w", "input": {}}],
    }
    found, ignored = sent(MESSAGES, tmp_path, [USER, called, USER])
    assert (found, ignored) == ([USER, USER], ["messages[1].content[0]"])


@pytest.mark.parametrize(
    "source",
    [
        {"type": "base64", "media_type": "application/pdf", "data": "AA"},
        {"type": "url", "url": "http://x/a.pdf"},
        {"type": "file", "file_id": "f"},
    ],
)
def test_a_document_that_is_no_text_is_refused_in_one_sentence(
    tmp_path: Path, source: dict[str, str]
) -> None:
    with pytest.raises(InvalidRequest, match=r"'messages\[0\].content\[0\]' is a document of type") as caught:
        sent(MESSAGES, tmp_path, [{"role": "user", "content": [document(**source)]}])
    assert caught.value.param == "messages[0].content[0]"


def test_a_last_message_of_the_assistants_is_named(tmp_path: Path) -> None:
    begun = {"role": "assistant", "content": "A, B,"}
    assert sent(MESSAGES, tmp_path, [USER, begun]) == ([USER, begun], ["messages[1]"])
    assert sent(MESSAGES, tmp_path, [USER, begun], strict=True) == ([USER, begun], [])
    assert sent(COUNT_TOKENS, tmp_path, [USER, begun]) == ([USER, begun], [])
    assert sent(MESSAGES, tmp_path, [USER, {**begun, "role": "model"}]) == ([USER, begun], ["messages[1]"])
    assert sent(MESSAGES, tmp_path, [begun, USER])[1] == []


@pytest.mark.parametrize("kind", ["mcp_tool_listing", "browser_state"])
def test_what_a_tool_of_anthropics_left_goes_too(tmp_path: Path, kind: str) -> None:
    found, ignored = sent(MESSAGES, tmp_path, [{"role": "user", "content": [{"type": kind}, text("z")]}])
    assert (found, ignored) == ([{"role": "user", "content": [text("z")]}], ["messages[0].content[0]"])


@pytest.mark.parametrize("content", ["no such file", [text("no such file")], None])
def test_that_a_tool_failed_is_named_since_the_engine_passes_over_it(tmp_path: Path, content: object) -> None:
    result = {"type": "tool_result", "tool_use_id": "t", "content": content, "is_error": True}
    asked = [USER, {"role": "user", "content": [text("a"), result, {**result, "is_error": False}]}]
    assert sent(MESSAGES, tmp_path, asked) == (asked, ["messages[1].content[1].is_error"])


def test_thoughts_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    thoughts = {"type": "redacted_thinking", "data": "x"}
    asked = [USER, {"role": "assistant", "content": [thoughts, text("a")]}, USER]
    assert sent(MESSAGES, tmp_path, asked) == (asked, ["messages[1].content[0]"])


@pytest.mark.parametrize("dialect", [MESSAGES, COUNT_TOKENS], ids=lambda one: one.name)
@pytest.mark.parametrize("strict", [False, True])
def test_what_the_system_said_for_one_turn_is_cleared_after_it(
    tmp_path: Path, dialect: Dialect, strict: bool
) -> None:
    said = {"role": "system", "content": "Be short.", "clear_at": "next_user_message"}
    answer = {"role": "assistant", "content": "a"}
    kept = {**said, "clear_at": "never"}
    asked = [USER, said, answer, kept, USER, said]
    assert sent(dialect, tmp_path, asked, strict=strict) == ([USER, answer, kept, USER, said], [])
    assert sent(dialect, tmp_path, [said], strict=strict) == ([said], [])


def test_effort_for_one_turn_is_named(tmp_path: Path) -> None:
    said = {"role": "system", "content": "s"}
    asked = [USER, {**said, "output_config": {"effort": "low"}}]
    assert sent(MESSAGES, tmp_path, asked) == (asked, ["messages[1].output_config"])
    assert sent(MESSAGES, tmp_path, [USER, {**said, "output_config": {}}])[1] == []


@pytest.mark.parametrize(
    ("message", "place"),
    [
        (
            {
                "role": "user",
                "content": [{"type": "tool_result", "tool_use_id": "t", "content": "x", "is_error": True}],
            },
            "messages[1].content[0].is_error",
        ),
        (
            {"role": "assistant", "content": [text("a"), {"type": "redacted_thinking", "data": "x"}]},
            "messages[1].content[1]",
        ),
        ({"role": "user", "content": "a", "output_config": {"effort": "low"}}, "messages[1].output_config"),
    ],
)
@pytest.mark.parametrize("dialect", [MESSAGES, COUNT_TOKENS], ids=lambda one: one.name)
def test_a_strict_gateway_refuses_what_the_engine_passes_over(
    tmp_path: Path, dialect: Dialect, message: object, place: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        sent(dialect, tmp_path, [USER, message], strict=True)
    assert caught.value.param == place
    assert caught.value.message.startswith(f"'{place}' is not supported: ")
