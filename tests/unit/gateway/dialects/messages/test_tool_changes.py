"""On `/v1/messages`: a tool that a conversation brings along is judged as those of `tools`."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from gateway.config.snapshot import EngineStatus, Snapshot
from gateway.dialects.cost.grammars import grammars_of
from gateway.dialects.dialect import Dialect
from gateway.dialects.messages.dialect import COUNT_TOKENS, MESSAGES
from gateway.dialects.parameters import Limits
from gateway.dialects.request_body import Fields
from gateway.errors import InvalidRequest
from tests.support.stack import config_of

USER = {"role": "user", "content": "a"}
DEEP = json.loads('{"items":' * 40 + "{}" + "}" * 40)
HOSTED = {"type": "web_search_20250305", "name": "search"}
BOTH = pytest.mark.parametrize("dialect", [MESSAGES, COUNT_TOKENS], ids=lambda one: one.name)


def tool(name: str = "f", **schema: object) -> dict[str, object]:
    return {"name": name, "input_schema": {"type": "object", **schema}}


def added(change: object) -> dict[str, object]:
    return {"role": "system", "content": [{"type": "tool_addition", "tool": change}]}


def defined(one: object) -> dict[str, object]:
    return added({"type": "tool_definition", "definition": one})


def named(name: str) -> dict[str, object]:
    return added({"type": "tool_reference", "name": name})


def checked(folder: Path, dialect: Dialect, asked: dict[str, object], *, escaped: bool = False) -> Fields:
    if dialect is MESSAGES:
        asked = {"max_tokens": 5, **asked}
    fields: Fields = {key: msgspec.Raw(json.dumps(value).encode()) for key, value in asked.items()}
    if escaped:
        fields["messages"] = msgspec.Raw(bytes(fields["messages"]).replace(b"tool_", rb"\u0074ool_"))
    told = Snapshot(engines=[EngineStatus("engine-0", tools="all")])
    dialect.check_fields(fields, Limits(config_of(folder), lambda: 2048, lambda: told))
    return fields


def read(fields: Fields, key: str) -> object:
    return json.loads(bytes(fields[key]))


@BOTH
@pytest.mark.parametrize("escaped", [False, True])
def test_it_goes_among_the_tools_and_is_named_where_it_stood(
    tmp_path: Path, dialect: Dialect, escaped: bool
) -> None:
    newer = tool("g", required=["x"])
    asked = {
        "messages": [USER, defined(tool("g")), defined(newer), named("h"), defined(tool("i"))],
        "tools": [tool("g"), tool("h")],
    }
    fields = checked(tmp_path, dialect, asked, escaped=escaped)
    assert read(fields, "tools") == [newer, tool("h"), tool("i")]
    assert read(fields, "messages") == [USER, named("g"), named("g"), named("h"), named("i")]


@BOTH
def test_without_others_it_is_the_first(tmp_path: Path, dialect: Dialect) -> None:
    fields = checked(tmp_path, dialect, {"messages": [USER, defined(tool())]})
    assert read(fields, "tools") == [tool()]


@BOTH
@pytest.mark.parametrize(
    ("brought", "place"),
    [
        (tool(properties=1), "tools[0].input_schema"),
        (tool(properties={"x": DEEP}), "tools"),
        ({**tool(), "strict": True, "description": "x" * 2_000_000}, "tools"),
    ],
)
@pytest.mark.parametrize("escaped", [False, True])
def test_its_bounds_are_those_of_the_others(
    tmp_path: Path, dialect: Dialect, brought: object, place: str, escaped: bool
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        checked(tmp_path, dialect, {"messages": [USER, defined(brought)]}, escaped=escaped)
    assert caught.value.param == place


@BOTH
@pytest.mark.parametrize("order", [("messages", "tools"), ("tools", "messages")])
def test_where_no_tool_is_left_there_are_none_whichever_comes_first(
    tmp_path: Path, dialect: Dialect, order: tuple[str, str]
) -> None:
    grammar = {"type": "custom", "name": "f", "format": {"type": "grammar"}}
    asked = {"messages": [USER, defined(grammar)], "tools": [HOSTED]}
    fields = checked(tmp_path, dialect, {key: asked[key] for key in order})
    assert "tools" not in fields
    assert read(fields, "tool_choice") == {"type": "none"}


@BOTH
def test_one_that_runs_on_a_server_is_left_out_where_it_stands(tmp_path: Path, dialect: Dialect) -> None:
    """By its name alone the engine would look for it among the tools."""
    fields = checked(tmp_path, dialect, {"messages": [USER, defined(HOSTED)], "tools": [tool()]})
    assert (read(fields, "messages"), read(fields, "tools")) == ([USER], [tool()])


def test_its_schema_is_tried_before_an_engine_has_it(tmp_path: Path) -> None:
    costly = tool(properties={"x": {"type": "string", "pattern": "((a{0,200}){0,200}){0,50}"}})
    fields = checked(tmp_path, MESSAGES, {"messages": [USER, defined(costly)]})
    assert [one.param for one in grammars_of(fields)] == ["tools"]


@pytest.mark.parametrize(
    "change", [None, {"type": "tool_definition"}, {"type": "tool_definition", "definition": {"name": 1}}]
)
def test_what_is_no_tool_is_the_engines_to_refuse(tmp_path: Path, change: object) -> None:
    asked = {"messages": [USER, added(change)], "tools": [tool(), {**tool(), "name": ["f"]}]}
    fields = checked(tmp_path, MESSAGES, asked)
    assert [read(fields, key) for key in asked] == list(asked.values())
