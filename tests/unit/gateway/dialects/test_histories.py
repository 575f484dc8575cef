"""A conversation that another server took part in: what has text keeps it, what has none is named."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from gateway.dialects.dialect import Dialect
from gateway.dialects.messages.dialect import COUNT_TOKENS, MESSAGES
from gateway.dialects.parameters import Limits
from gateway.dialects.request_body import Fields
from gateway.dialects.responses.dialect import RESPONSES
from gateway.errors import InvalidRequest
from tests.support.stack import config_of

USER = {"role": "user", "content": "a"}


def sent(dialect: Dialect, folder: Path, prompt: object, *, strict: bool = False) -> tuple[Any, list[str]]:
    """The conversation that goes to the engine, and what is named as ignored."""
    given = {"messages": prompt, "max_tokens": 5} if dialect is not RESPONSES else {"input": prompt}
    if dialect is COUNT_TOKENS:
        del given["max_tokens"]
    fields: Fields = {key: json.dumps(value).encode() for key, value in given.items()}  # type: ignore[misc]
    config = config_of(folder, parameters="strict" if strict else "lenient")
    ignored = dialect.check_fields(fields, Limits(config, lambda: 2048))
    return json.loads(bytes(fields[dialect.prompt])), ignored


ENCRYPTED = {"type": "reasoning", "id": "r", "summary": [], "encrypted_content": "x"}
SHELL = {"type": "local_shell_call", "call_id": "c", "action": {"type": "exec", "command": ["ls", "-l"]}}


@pytest.mark.parametrize(
    ("item", "kept", "named"),
    [
        (ENCRYPTED, [], ["input[1]"]),
        (
            {**ENCRYPTED, "summary": [{"type": "summary_text", "text": "hm"}]},
            [{"type": "reasoning", "id": "r", "summary": [{"type": "summary_text", "text": "hm"}]}],
            ["input[1].encrypted_content"],
        ),
        ({**ENCRYPTED, "encrypted_content": None}, None, []),
        (SHELL, [{"role": "assistant", "content": "ls -l"}], []),
        ({"type": "local_shell_call_output", "id": "c", "output": "total 0"},
         [{"role": "user", "content": "total 0"}], []),
        ({"type": "shell_call_output", "output": [{"stdout": "a", "stderr": "b"}]},
         [{"role": "user", "content": "a\nb"}], []),
        ({"type": "web_search_call", "id": "w", "action": {"query": "q"}}, [], ["input[1]"]),
        ({"type": "compaction", "id": "c", "encrypted_content": "x"}, [], ["input[1]"]),
        ({"type": "mcp_call", "name": "f", "arguments": "{}", "output": "said"},
         [{"role": "assistant", "content": "f {}"}, {"role": "user", "content": "said"}], []),
        ({"type": "code_interpreter_call", "code": "1+1", "outputs": [{"type": "logs", "logs": "2"}]},
         [{"role": "assistant", "content": "1+1"}, {"role": "user", "content": "2"}], []),
        ({"type": "local_shell_call", "action": {}}, [], ["input[1]"]),
        (
            {"role": "assistant", "content": [
                {"type": "output_text", "text": "a"}, {"type": "output_text", "text": "b"},
            ]},
            [{"role": "assistant", "content": "ab"}],
            [],
        ),
        ({"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}, None, []),
        ({"type": "made_up"}, None, []),
        ({"type": ["web_search_call"]}, None, []),
        ({"type": {"web_search_call": 1}}, None, []),
    ],
)  # fmt: skip
def test_items(tmp_path: Path, item: dict[str, Any], kept: list[Any] | None, named: list[str]) -> None:
    found, ignored = sent(RESPONSES, tmp_path, [USER, item, USER])
    assert (found, ignored) == ([USER, *([item] if kept is None else kept), USER], named)


def test_what_stands_elsewhere_is_refused_and_strict_leaves_all_to_the_engine(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest) as caught:
        sent(RESPONSES, tmp_path, [USER, {"type": "item_reference", "id": "x"}])
    assert caught.value.param == "input[1]"
    for dialect, one in (
        (RESPONSES, ENCRYPTED),
        (MESSAGES, {"role": "user", "content": [{"type": "document"}]}),
    ):
        assert sent(dialect, tmp_path, [one], strict=True) == ([one], [])


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
    assert sent(MESSAGES, tmp_path, [begun, USER])[1] == []
