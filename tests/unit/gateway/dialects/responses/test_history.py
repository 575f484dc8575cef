"""On `/v1/responses`: what of another server's conversation is kept."""

from __future__ import annotations

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
        # The engine answers these with a 500.
        ({"type": "message", "role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
         [{"role": "assistant", "content": "no"}], []),
        ({"type": "message", "id": "m", "status": "completed", "role": "assistant", "content": []},
         [{"role": "assistant", "content": ""}], []),
        ({"type": "message", "role": "user", "content": []}, None, []),
        (
            {"role": "assistant", "content": [
                {"type": "output_text", "text": "a"}, {"type": "output_text", "text": "b"},
            ]},
            [{"role": "assistant", "content": "ab"}],
            [],
        ),
        (
            {"role": "assistant", "content": [
                {"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"},
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


def test_what_an_assistant_said_is_one_text_where_the_gateway_is_strict_too(tmp_path: Path) -> None:
    """Nothing is lost by that, and without it the engine would read the first part alone."""
    parts = [{"type": "output_text", "text": "a"}, {"type": "refusal", "refusal": "b"}]
    item = {"type": "message", "role": "assistant", "content": parts}
    assert sent(RESPONSES, tmp_path, [item], strict=True) == ([{"role": "assistant", "content": "ab"}], [])


@pytest.mark.parametrize("count", [33, 500])
def test_a_long_conversation_may_hold_any_number_that_is_left_out(tmp_path: Path, count: int) -> None:
    """A coding agent replays one piece of encrypted reasoning for each turn."""
    found, ignored = sent(RESPONSES, tmp_path, [USER, *[ENCRYPTED] * count, USER])
    assert (found, len(ignored)) == ([USER, USER], count)


@pytest.mark.parametrize("strict", [False, True])
def test_reasoning_in_several_parts_is_one(tmp_path: Path, strict: bool) -> None:
    """The engine reads the first part alone."""
    parts: dict[str, list[dict[str, Any]]] = {
        name: [{"type": kind, "text": "a"}, {"type": kind, "text": "b"}]
        for name, kind in (("summary", "summary_text"), ("content", "reasoning_text"))
    }
    item = {"type": "reasoning", "id": "r", **parts}
    joined = {name: [{**held[0], "text": "a\nb"}] for name, held in parts.items()}
    assert sent(RESPONSES, tmp_path, [USER, item], strict=strict) == ([USER, {**item, **joined}], [])
    plain = {"type": "reasoning", "id": "r", "summary": [{"type": "summary_text", "text": "a"}]}
    assert sent(RESPONSES, tmp_path, [USER, plain], strict=strict) == ([USER, plain], [])


@pytest.mark.parametrize("status", ["in_progress", "incomplete"])
def test_what_was_cut_off_stays_to_be_gone_on_with(tmp_path: Path, status: str) -> None:
    """The engine goes on with a last message of that status."""
    parts: list[dict[str, Any]] = [
        {"type": "output_text", "text": "a", "annotations": []},
        {"type": "output_text", "text": "b"},
    ]
    item: dict[str, Any] = {"type": "message", "id": "m", "role": "assistant", "status": status}
    item["content"] = parts
    whole = {**item, "content": [{**parts[0], "text": "ab"}]}
    assert sent(RESPONSES, tmp_path, [USER, item]) == ([USER, whole], [])
    assert sent(RESPONSES, tmp_path, [item, USER]) == ([{"role": "assistant", "content": "ab"}, USER], [])
