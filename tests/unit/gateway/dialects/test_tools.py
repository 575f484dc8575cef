"""Tools that only another server could run: left out and named where nothing demands them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.config.snapshot import EngineStatus, Snapshot
from gateway.dialects.chat.dialect import CHAT
from gateway.dialects.dialect import Dialect
from gateway.dialects.messages.dialect import COUNT_TOKENS, MESSAGES
from gateway.dialects.parameters import Limits
from gateway.dialects.request_body import Fields
from gateway.dialects.responses.dialect import RESPONSES
from gateway.errors import InvalidRequest
from tests.support.stack import config_of

SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
CHAT_TOOL = {"type": "function", "function": {"name": "f", "parameters": SCHEMA}}
TOOL = {"type": "function", "name": "f", "parameters": SCHEMA}
BLOCK_TOOL = {"name": "f", "input_schema": SCHEMA}
GRAMMAR = {
    "type": "custom",
    "name": "patch",
    "format": {"type": "grammar", "syntax": "lark", "definition": "x"},
}
SPACE = {"type": "namespace", "name": "n", "description": "d", "tools": [TOOL]}


def sent(
    dialect: Dialect, folder: Path, able: str = "all", **given: object
) -> tuple[dict[str, Any], list[str]]:
    """What goes to the engine, and what is named as ignored."""
    if dialect is MESSAGES:
        given = {"max_tokens": 5, **given}
    fields: Fields = {key: json.dumps(value).encode() for key, value in given.items()}  # type: ignore[misc]
    told = Snapshot(engines=[EngineStatus("engine-0", tools=able)])  # type: ignore[arg-type]
    ignored = dialect.check_fields(fields, Limits(config_of(folder), lambda: 2048, lambda: told))
    return {key: json.loads(bytes(value)) for key, value in fields.items()}, ignored


def refused(dialect: Dialect, folder: Path, able: str = "all", **given: object) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        sent(dialect, folder, able, **given)
    return caught.value


@pytest.mark.parametrize(
    ("dialect", "own", "hosted"),
    [
        (RESPONSES, TOOL, {"type": "web_search", "external_web_access": False}),
        (RESPONSES, TOOL, {"type": "local_shell"}),
        (RESPONSES, TOOL, {"type": "mcp", "server_label": "x", "server_url": "http://x"}),
        (RESPONSES, SPACE, GRAMMAR),
        (RESPONSES, {"type": "custom", "name": "free"}, {"type": "image_generation"}),
        (MESSAGES, BLOCK_TOOL, {"type": "web_search_20250305", "name": "web_search"}),
        (MESSAGES, BLOCK_TOOL, {"type": "bash_20250124", "name": "bash"}),
        (COUNT_TOKENS, BLOCK_TOOL, {"type": "text_editor_20250728", "name": "edit"}),
        (CHAT, CHAT_TOOL, {"type": "custom", "custom": {"name": "c"}}),
    ],
)
def test_left_out_and_named(tmp_path: Path, dialect: Dialect, own: object, hosted: object) -> None:
    fields, ignored = sent(dialect, tmp_path, tools=[hosted, own])
    assert (fields["tools"], ignored) == ([own], ["tools[0]"])


def test_where_none_is_left_there_are_no_tools_and_no_parser_is_needed(tmp_path: Path) -> None:
    for dialect, hosted, none in (
        (RESPONSES, {"type": "web_search"}, "none"),
        (MESSAGES, {"type": "web_search_20250305", "name": "web_search"}, {"type": "none"}),
    ):
        fields, ignored = sent(dialect, tmp_path, "none", tools=[hosted])
        assert "tools" not in fields
        assert (fields["tool_choice"], ignored) == (none, ["tools[0]"])
    free = {"tool_choice": "auto", "tools": [{"type": "web_search"}]}
    assert "tools" not in sent(RESPONSES, tmp_path, "none", **free)[0]
    assert refused(RESPONSES, tmp_path, "none", tools=[TOOL, {"type": "web_search"}]).param == "tools"


@pytest.mark.parametrize(
    ("dialect", "tools", "choice"),
    [
        (RESPONSES, [{"type": "web_search"}], "required"),
        (RESPONSES, [TOOL, GRAMMAR], {"type": "custom", "name": "patch"}),
        (MESSAGES, [{"type": "bash_20250124", "name": "bash"}], {"type": "any"}),
        (MESSAGES, [BLOCK_TOOL, {"type": "bash_20250124", "name": "bash"}], {"type": "tool", "name": "bash"}),
        (CHAT, [CHAT_TOOL, {"type": "custom", "custom": {"name": "c"}}],
         {"type": "custom", "custom": {"name": "c"}}),
    ],
)  # fmt: skip
def test_what_a_choice_demands_is_refused(
    tmp_path: Path, dialect: Dialect, tools: object, choice: object
) -> None:
    error = refused(dialect, tmp_path, tools=tools, tool_choice=choice)
    assert (error.code, "server's side" in error.message) == ("unsupported_parameter", True)
    assert error.param is not None
    assert error.param.endswith(".type")


def test_another_choice_is_not(tmp_path: Path) -> None:
    for choice in ("required", {"type": "function", "name": "f"}, "none"):
        fields, ignored = sent(RESPONSES, tmp_path, tools=[TOOL, GRAMMAR], tool_choice=choice)
        assert (fields["tools"], fields["tool_choice"], ignored) == ([TOOL], choice, ["tools[1]"])


def test_a_clients_function_of_a_wrong_form_is_not_left_out(tmp_path: Path) -> None:
    assert refused(MESSAGES, tmp_path, tools=[CHAT_TOOL]).param == "tools[0].type"
    assert refused(RESPONSES, tmp_path, tools=[{"type": "fn", "name": "f", "parameters": SCHEMA}]).param == (
        "tools[0].type"
    )
    assert refused(RESPONSES, tmp_path, tools=[{"name": "f"}]).param == "tools[0].type"


def test_functions_of_a_namespace_are_checked_and_counted(tmp_path: Path) -> None:
    wrong = {**SPACE, "tools": [TOOL, {**TOOL, "parameters": {"type": "nonsense"}}]}
    assert refused(RESPONSES, tmp_path, tools=[wrong]).param == "tools[0].tools[1].parameters"
    assert "129" in refused(RESPONSES, tmp_path, tools=[TOOL, {**SPACE, "tools": [TOOL] * 128}]).message


LONG = {"type": "object", "properties": {"a": {"type": "string", "description": "x" * 70_000}}}


@pytest.mark.parametrize(
    ("dialect", "tool", "free", "held"),
    [
        (
            CHAT,
            {"type": "function", "function": {"name": "g", "parameters": LONG}},
            [None, "auto", "none", {"type": "function", "function": {"name": "f"}}],
            ["required", {"type": "function", "function": {"name": "g"}}],
        ),
        (
            RESPONSES,
            {**SPACE, "tools": [{"type": "function", "name": "g", "parameters": LONG}]},
            [None, "auto", "none", {"type": "function", "name": "f"}],
            ["required", {"type": "function", "name": "g"}],
        ),
        (
            MESSAGES,
            {"name": "g", "input_schema": LONG},
            [None, {"type": "auto"}, {"type": "none"}, {"type": "tool", "name": "f"}],
            [{"type": "any"}, {"type": "tool", "name": "g"}],
        ),
    ],
)
def test_a_schema_is_bounded_where_a_call_must_keep_to_it(
    tmp_path: Path, dialect: Dialect, tool: dict[str, Any], free: list[object], held: list[object]
) -> None:
    """Coding agents show a model 100 KB of tools; a grammar is made of those alone that a call is held to."""
    own = {CHAT: CHAT_TOOL, RESPONSES: TOOL, MESSAGES: BLOCK_TOOL}[dialect]
    for choice in free:
        given: dict[str, Any] = {} if choice is None else {"tool_choice": choice}
        assert sent(dialect, tmp_path, tools=[own, tool], **given)[0]["tools"] == [own, tool]
    for choice in held:
        error = refused(dialect, tmp_path, tools=[own, tool], tool_choice=choice)
        assert (error.param, "gateway.max_schema_bytes" in error.message) == ("tools", True)


def test_a_strict_functions_schema_is_bounded_whatever_the_choice(tmp_path: Path) -> None:
    strict = {"type": "function", "function": {"name": "g", "parameters": LONG, "strict": True}}
    assert "gateway.max_schema_bytes" in refused(CHAT, tmp_path, tools=[strict]).message


def test_anthropics_api_takes_any_number_of_tools(tmp_path: Path) -> None:
    many = [{**BLOCK_TOOL, "name": f"f{number}"} for number in range(300)]
    for dialect in (MESSAGES, COUNT_TOKENS):
        assert sent(dialect, tmp_path, tools=many)[0]["tools"] == many


def test_a_chats_tool_without_a_type_is_a_function(tmp_path: Path) -> None:
    """So the engine takes it."""
    tool = {"function": CHAT_TOOL["function"]}
    assert sent(CHAT, tmp_path, tools=[tool])[0]["tools"] == [tool]
    assert refused(CHAT, tmp_path, tools=[{**tool, "type": None}]).param == "tools[0].type"
    assert refused(RESPONSES, tmp_path, tools=[tool]).param == "tools[0].type"


@pytest.mark.parametrize(
    ("dialect", "tool", "param", "says"),
    [
        (CHAT, TOOL, "tools[0].function", "in a chat"),
        (CHAT, BLOCK_TOOL, "tools[0].function", "in a chat"),
        (RESPONSES, CHAT_TOOL, "tools[0].name", "not in 'function'"),
    ],
)
def test_a_function_in_the_other_apis_form_is_refused_in_one_sentence(
    tmp_path: Path, dialect: Dialect, tool: object, param: str, says: str
) -> None:
    error = refused(dialect, tmp_path, tools=[tool])
    assert (error.param, says in error.message) == (param, True)


@pytest.mark.parametrize("dialect", [CHAT, RESPONSES, MESSAGES], ids=lambda one: one.name)
def test_what_no_model_is_shown_of_a_tool_is_named(tmp_path: Path, dialect: Dialect) -> None:
    more = {"input_examples": [{"a": "b"}], "output_schema": SCHEMA, "allowed_callers": ["code_execution"]}
    own: dict[str, Any] = {CHAT: CHAT_TOOL, RESPONSES: TOOL, MESSAGES: BLOCK_TOOL}[dialect]
    tool = {**own, "function": {**own["function"], **more}} if dialect is CHAT else {**own, **more}
    where = "tools[1].function" if dialect is CHAT else "tools[1]"
    fields, ignored = sent(dialect, tmp_path, tools=[own, tool])
    assert (fields["tools"], ignored) == ([own, tool], [f"{where}.{name}" for name in more])
    plain = {**own, "allowed_callers": ["direct"], "input_examples": []}
    assert sent(dialect, tmp_path, tools=[plain])[1] == []
