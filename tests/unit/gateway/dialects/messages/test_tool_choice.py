"""On `/v1/messages`: a choice in another API's form is read as what it means, or its place is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.config.document import JsonObject
from gateway.config.snapshot import EngineStatus, Snapshot
from gateway.dialects.dialect import Dialect
from gateway.dialects.messages.dialect import COUNT_TOKENS, MESSAGES
from gateway.dialects.messages.tool_choice import take_one_at_a_time
from gateway.dialects.parameters import Limits
from gateway.dialects.request_body import Fields, fields_of
from gateway.errors import InvalidRequest
from tests.support.stack import config_of

TOOL = {"name": "f", "input_schema": {"type": "object"}}
BOTH = pytest.mark.parametrize("dialect", [MESSAGES, COUNT_TOKENS], ids=lambda one: one.name)


def chosen(
    dialect: Dialect, folder: Path, choice: object, *, able: str = "all", strict: bool = False, **more: object
) -> Any:
    """What goes to an engine that is able to so many kinds of calls; None where no choice does."""
    asked = {"messages": [{"role": "user", "content": "a"}], "tools": [TOOL], "tool_choice": choice, **more}
    if dialect is MESSAGES:
        asked["max_tokens"] = 5
    fields: Fields = {key: json.dumps(value).encode() for key, value in asked.items()}  # type: ignore[misc]
    config = config_of(folder, parameters="strict" if strict else "lenient")
    told = Snapshot(engines=[EngineStatus("engine-0", tools=able)])  # type: ignore[arg-type]
    dialect.check_fields(fields, Limits(config, lambda: 2048, lambda: told))
    return json.loads(bytes(fields["tool_choice"])) if "tool_choice" in fields else None


@BOTH
@pytest.mark.parametrize(
    ("choice", "meant"),
    [
        ("auto", {"type": "auto"}),
        ("any", {"type": "any"}),
        ("required", {"type": "any"}),
        ("none", {"type": "none"}),
        ({"type": "required"}, {"type": "any"}),
        ({"type": "function", "function": {"name": "f"}}, {"type": "tool", "name": "f"}),
        ({"type": "function", "name": "f"}, {"type": "tool", "name": "f"}),
    ],
)
def test_a_choice_in_another_form_is_read(
    tmp_path: Path, dialect: Dialect, choice: object, meant: object
) -> None:
    assert chosen(dialect, tmp_path, choice) == meant


@BOTH
@pytest.mark.parametrize(
    "choice", [{"type": "tool", "name": "f"}, {"type": "auto", "disable_parallel_tool_use": True}]
)
def test_one_of_its_own_form_stays_as_it_is(tmp_path: Path, dialect: Dialect, choice: object) -> None:
    assert chosen(dialect, tmp_path, choice, strict=True) == choice


def test_the_choice_of_no_tool_needs_no_parser_in_whatever_form(tmp_path: Path) -> None:
    assert chosen(MESSAGES, tmp_path, "none", able="none") == {"type": "none"}
    assert chosen(MESSAGES, tmp_path, "any", able="forced") == {"type": "any"}


def test_among_no_tools_a_free_choice_asks_for_nothing(tmp_path: Path) -> None:
    assert chosen(MESSAGES, tmp_path, "auto", tools=[]) is None
    with pytest.raises(InvalidRequest, match="while providing tools"):
        chosen(MESSAGES, tmp_path, "any", tools=[])


@BOTH
@pytest.mark.parametrize("choice", ["f", 1, ["auto"], {"type": "function"}])
def test_what_is_no_choice_is_named_with_the_mend(tmp_path: Path, dialect: Dialect, choice: object) -> None:
    with pytest.raises(InvalidRequest, match=r"'tool_choice' is .*\{\"type\": \"auto\"\}") as caught:
        chosen(dialect, tmp_path, choice)
    assert caught.value.param == "tool_choice"


def test_a_strict_gateway_names_the_form(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="'tool_choice' is 'auto'; it must be an object with a type"):
        chosen(MESSAGES, tmp_path, "auto", strict=True)


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        (None, {"type": "auto", "disable_parallel_tool_use": True}),
        ({"type": "any"}, {"type": "any", "disable_parallel_tool_use": True}),
        (
            {"type": "any", "disable_parallel_tool_use": False},
            {"type": "any", "disable_parallel_tool_use": False},
        ),
    ],
)
def test_one_call_at_a_time_stands_beside_a_choice(choice: JsonObject | None, sent: JsonObject) -> None:
    fields = fields_of({"tool_choice": choice} if choice else {})
    take_one_at_a_time(fields)
    assert json.loads(bytes(fields["tool_choice"])) == sent
