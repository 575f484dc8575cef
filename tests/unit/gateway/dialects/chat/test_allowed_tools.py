"""`tool_choice` of type `allowed_tools`: the engine is shown what is allowed, and no more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.dialects.chat.allowed_tools import allowed_in, respelled
from gateway.dialects.chat.dialect import CHAT
from gateway.dialects.dialect import Dialect
from gateway.dialects.responses.dialect import RESPONSES
from gateway.errors import InvalidRequest
from gateway.relay.fallback.policy import Unable, question
from tests.unit.gateway.dialects.test_tools import refused, sent


def function(dialect: Dialect, name: str) -> dict[str, Any]:
    held = {"name": name, "parameters": {"type": "object", "properties": {}}}
    return {"type": "function", "function": held} if dialect is CHAT else {"type": "function", **held}


def named(dialect: Dialect, *names: str) -> list[dict[str, Any]]:
    if dialect is CHAT:
        return [{"type": "function", "function": {"name": name}} for name in names]
    return [{"type": "function", "name": name} for name in names]


def choice(dialect: Dialect, mode: str, *names: str) -> dict[str, Any]:
    held = {"mode": mode, "tools": named(dialect, *names)}
    nested = {"type": "allowed_tools", "allowed_tools": held}
    return nested if dialect is CHAT else {"type": "allowed_tools", **held}


@pytest.mark.parametrize("dialect", [CHAT, RESPONSES], ids=lambda one: one.name)
@pytest.mark.parametrize("mode", ["auto", "required"])
@pytest.mark.parametrize("first", ["tools", "tool_choice"])
def test_the_named_tools_and_the_mode_alone_go_on(
    tmp_path: Path, dialect: Dialect, mode: str, first: str
) -> None:
    f, g, h = (function(dialect, name) for name in "fgh")
    given: dict[str, Any] = {"tools": [f, g, h], "tool_choice": choice(dialect, mode, "h", "f")}
    ordered: dict[str, Any] = {first: given[first], **given}
    fields, ignored = sent(dialect, tmp_path, **ordered)
    assert (fields["tools"], fields["tool_choice"], ignored) == ([f, h], mode, [])


@pytest.mark.parametrize("dialect", [CHAT, RESPONSES], ids=lambda one: one.name)
def test_either_spelling_is_read_on_either_api(tmp_path: Path, dialect: Dialect) -> None:
    tools = [function(dialect, "f"), function(dialect, "g")]
    other = RESPONSES if dialect is CHAT else CHAT
    fields, _ = sent(dialect, tmp_path, tools=tools, tool_choice=choice(other, "required", "g"))
    assert (fields["tools"], fields["tool_choice"]) == (tools[1:], "required")


def test_a_namespace_is_allowed_whole_or_by_its_functions(tmp_path: Path) -> None:
    f, g = function(RESPONSES, "f"), function(RESPONSES, "g")
    space = {"type": "namespace", "name": "n", "description": "d", "tools": [f, g]}
    whole = {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "namespace", "name": "n"}]}
    assert sent(RESPONSES, tmp_path, tools=[space], tool_choice=whole)[0]["tools"] == [space]
    fields, _ = sent(RESPONSES, tmp_path, tools=[space], tool_choice=choice(RESPONSES, "auto", "g"))
    assert fields["tools"] == [{**space, "tools": [g]}]


def test_what_runs_elsewhere_is_named_where_allowed_and_refused_where_demanded(tmp_path: Path) -> None:
    tools = [{"type": "web_search"}, {"type": "mcp", "server_label": "s"}, function(RESPONSES, "f")]
    entries = [{"type": "mcp", "server_label": "s"}, *named(RESPONSES, "f")]
    asked: dict[str, Any] = {"type": "allowed_tools", "mode": "required", "tools": entries}
    fields, ignored = sent(RESPONSES, tmp_path, tools=tools, tool_choice=asked)
    assert (fields["tools"], ignored) == (tools[2:], ["tools[1]"])
    error = refused(RESPONSES, tmp_path, tools=tools, tool_choice={**asked, "tools": entries[:1]})
    assert error.param == "tools[1].type"
    fields, ignored = sent(
        RESPONSES, tmp_path, tools=tools, tool_choice={**asked, "mode": "auto", "tools": entries[:1]}
    )
    assert ("tools" in fields, fields.get("tool_choice", "none"), ignored) == (False, "none", ["tools[1]"])


@pytest.mark.parametrize("first", ["tools", "tool_choice"])
def test_none_is_allowed(tmp_path: Path, first: str) -> None:
    given: dict[str, Any] = {"tools": [function(CHAT, "f")], "tool_choice": choice(CHAT, "auto")}
    fields, _ = sent(CHAT, tmp_path, **{first: given[first], **given})
    assert ("tools" in fields, fields.get("tool_choice", "none")) == (False, "none")
    assert sent(CHAT, tmp_path, tool_choice=choice(CHAT, "auto"))[0] == {}
    given["tool_choice"] = choice(CHAT, "required")
    assert "allows no tool" in refused(CHAT, tmp_path, **given).message


WHERE = "tool_choice.allowed_tools"


@pytest.mark.parametrize(
    ("held", "param", "says"),
    [
        ({"mode": "auto", "tools": named(CHAT, "f", "x")}, f"{WHERE}.tools[1]", "'x', which is not among"),
        ({"mode": "any", "tools": named(CHAT, "f")}, f"{WHERE}.mode", "auto or required"),
        ({"tools": named(CHAT, "f")}, f"{WHERE}.mode", "missing"),
        ({"mode": "auto"}, f"{WHERE}.tools", "a list of tools"),
        ({"mode": "auto", "tools": ["f"]}, f"{WHERE}.tools[0]", "type and name"),
        ({"mode": "auto", "tools": [{"type": "function"}]}, f"{WHERE}.tools[0]", "type and name"),
        ({"mode": "auto", "tools": [{"type": ["a"]}]}, f"{WHERE}.tools[0]", "type and name"),
        (3, WHERE, "an object"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_its_place(tmp_path: Path, held: object, param: str, says: str) -> None:
    asked = {"type": "allowed_tools", "allowed_tools": held}
    error = refused(CHAT, tmp_path, tools=[function(CHAT, "f")], tool_choice=asked)
    assert (error.param, says in error.message) == (param, True)


@pytest.mark.parametrize("tools", [[], None])
def test_among_no_tools_a_name_is_unknown(tmp_path: Path, tools: object) -> None:
    given: dict[str, Any] = {"tool_choice": choice(CHAT, "auto", "f")}
    error = refused(CHAT, tmp_path, **given | ({} if tools is None else {"tools": tools}))
    assert (error.param, "'f'" in error.message) == (f"{WHERE}.tools[0]", True)


def test_bounds_and_parsers_hold_of_what_is_allowed(tmp_path: Path) -> None:
    many = [function(CHAT, f"f{number}") for number in range(200)]
    assert len(sent(CHAT, tmp_path, tools=many, tool_choice=choice(CHAT, "auto", "f1"))[0]["tools"]) == 1
    free = refused(CHAT, tmp_path, "forced", tools=many, tool_choice=choice(CHAT, "auto", "f1"))
    assert "tool_choice auto" in free.message
    assert sent(CHAT, tmp_path, "forced", tools=many, tool_choice=choice(CHAT, "required", "f1"))


@pytest.mark.parametrize("dialect", [CHAT, RESPONSES], ids=lambda one: one.name)
def test_a_fallback_is_asked_with_what_is_allowed(tmp_path: Path, dialect: Dialect) -> None:
    turns = [{"role": "user", "content": "x"}]
    prompt: dict[str, Any] = {"messages": turns} if dialect is CHAT else {"input": turns}
    tools = [function(dialect, "f"), function(dialect, "g")]
    fields, _ = sent(dialect, tmp_path, **prompt, tools=tools, tool_choice=choice(dialect, "required", "g"))
    asked = question(dialect, fields)
    assert not isinstance(asked, Unable)
    assert (asked["tools"], asked["tool_choice"]) == ([function(CHAT, "g")], "required")


def test_other_choices_are_not_looked_at() -> None:
    others: list[Any] = ["auto", None, 3, {"type": "function", "function": {"name": "f"}}]
    assert [allowed_in(other) for other in others] == [None] * 4
    with pytest.raises(InvalidRequest):
        allowed_in({"type": "allowed_tools"})


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("any", "required"),
        ({"type": "any"}, "required"),
        ({"type": "required"}, "required"),
        ({"type": "auto"}, "auto"),
        ({"type": "none"}, "none"),
        ({"type": "tool", "name": "f"}, "f"),
        ({"type": "function", "name": "f"}, "f"),
        ({"type": "function", "function": {"name": "f"}}, "f"),
    ],
)
@pytest.mark.parametrize("dialect", [CHAT, RESPONSES], ids=lambda one: one.name)
@pytest.mark.parametrize("first", ["tools", "tool_choice"])
def test_a_choice_in_another_apis_form_is_this_ones(
    tmp_path: Path, dialect: Dialect, given: object, meant: str, first: str
) -> None:
    wanted = named(dialect, "f")[0] if meant == "f" else meant
    asked: dict[str, Any] = {"tools": [function(dialect, "f")], "tool_choice": given}
    fields, ignored = sent(dialect, tmp_path, **{first: asked[first], **asked})
    assert (fields["tool_choice"], ignored) == (wanted, [])


@pytest.mark.parametrize(
    "choice", [{"type": "auto", "name": "f"}, {"type": "tool"}, {"type": "some"}, "f", 3]
)
def test_what_is_no_choice_of_any_api_is_left_to_be_refused(choice: Any) -> None:
    assert respelled(choice, nested=True) == choice
