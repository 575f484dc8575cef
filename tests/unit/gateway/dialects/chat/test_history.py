"""Marks of a beginning (`prefix`, `partial`) are followed or named; older calls are read as tools' calls."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.dialects.chat.dialect import CHAT
from gateway.dialects.parameters import Limits
from gateway.dialects.request_body import Fields
from gateway.errors import InvalidRequest
from tests.support.stack import Stack, config_of, stack

USER = {"role": "user", "content": "Recite the alphabet."}
BEGUN = {"role": "assistant", "content": "A, B, C,"}
ON = {"continue_final_message": True, "add_generation_prompt": False}


def sent(
    folder: Path, *messages: object, strict: bool = False, **given: object
) -> tuple[dict[str, Any], list[str]]:
    asked = {"messages": list(messages), **given}
    fields: Fields = {key: json.dumps(value).encode() for key, value in asked.items()}  # type: ignore[misc]
    config = config_of(folder, parameters="strict" if strict else "lenient")
    ignored = CHAT.check_fields(fields, Limits(config, lambda: 2048))
    document = {key: json.loads(bytes(value)) for key, value in fields.items()}
    assert document.pop("messages") == list(messages)
    return document, ignored


@pytest.mark.parametrize("name", ["prefix", "partial"])
@pytest.mark.parametrize("content", ["A, B, C,", [{"type": "text", "text": "A, B, C,"}]])
def test_a_marked_last_message_is_gone_on_with(tmp_path: Path, name: str, content: object) -> None:
    assert sent(tmp_path, USER, {"role": "assistant", "content": content, name: True}) == (ON, [])


@pytest.mark.parametrize(
    ("messages", "given", "named"),
    [
        ([USER, {**BEGUN, "prefix": True}, USER], {}, ["messages[1].prefix"]),
        ([{**USER, "prefix": True}], {}, ["messages[0].prefix"]),
        ([USER, {**BEGUN, "content": "", "prefix": True}], {}, ["messages[1].prefix"]),
        ([USER, {**BEGUN, "content": None, "partial": True}], {}, ["messages[1].partial"]),
        ([USER, {**BEGUN, "prefix": "yes"}], {}, ["messages[1].prefix"]),
        ([USER, {**BEGUN, "tool_calls": [{}], "prefix": True}], {}, ["messages[1].prefix"]),
        ([USER, {**BEGUN, "prefix": True}], {"response_format": {"type": "json_object"}},
         ["messages[1].prefix"]),
        ([USER, {**BEGUN, "prefix": True}], {"structured_outputs": {"regex": "a"}}, ["messages[1].prefix"]),
        ([USER, {**BEGUN, "prefix": True}], {"continue_final_message": False}, ["messages[1].prefix"]),
        ([USER, {**BEGUN, "prefix": True}], {"add_generation_prompt": True}, ["messages[1].prefix"]),
    ],
)  # fmt: skip
def test_a_mark_that_cannot_be_followed_is_named(
    tmp_path: Path, messages: list[Any], given: dict[str, Any], named: list[str]
) -> None:
    assert sent(tmp_path, *messages, **given) == (given, named)


@pytest.mark.parametrize("mark", [False, None])
def test_a_mark_that_says_no_asks_nothing(tmp_path: Path, mark: object) -> None:
    assert sent(tmp_path, USER, {**BEGUN, "prefix": mark}) == ({}, [])


def test_plain_text_as_a_format_leaves_it_to_be_gone_on_with(tmp_path: Path) -> None:
    form: dict[str, Any] = {"response_format": {"type": "text"}}
    assert sent(tmp_path, USER, {**BEGUN, "prefix": True}, **form) == ({**form, **ON}, [])


def test_a_strict_gateway_names_the_engines_own_parameters(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="continue_final_message") as refused:
        sent(tmp_path, USER, {**BEGUN, "prefix": True}, strict=True)
    assert refused.value.param == "messages[1].prefix"


async def asked(s: Stack, model: str, **given: object) -> tuple[dict[str, Any], str]:
    answer = await s.chat(model=model, messages=[USER, {**BEGUN, "prefix": True}], **given)
    assert answer.status_code == 200
    return s.engine.completions[-1].json, answer.headers.get("x-gateway-ignored", "")


@pytest.mark.anyio
@pytest.mark.usefixtures("both_ways")
async def test_a_tasks_own_schema_leaves_no_room_for_a_beginning(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        body, named = await asked(s, "concept")
        assert (body.items() >= ON.items(), named) == (True, "")
        body, named = await asked(s, "naming")
        assert ("continue_final_message" in body, named) == (False, "messages[1].prefix")
        body, named = await asked(s, "naming", response_format={"type": "text"})
        assert (body.items() >= ON.items(), named) == (True, "")


def read(folder: Path, *messages: object, strict: bool = False) -> Any:
    fields: Fields = {"messages": json.dumps(messages).encode()}  # type: ignore[dict-item]
    config = config_of(folder, parameters="strict" if strict else "lenient")
    assert CHAT.check_fields(fields, Limits(config, lambda: 2048)) == []
    return json.loads(bytes(fields["messages"]))


CALL = {"name": "f", "arguments": "{}"}
OLD = {"role": "assistant", "content": None, "function_call": CALL}
RESULT = {"role": "function", "name": "f", "content": "sun"}


@pytest.mark.parametrize("strict", [False, True])
def test_an_older_call_and_its_result_are_a_tools(tmp_path: Path, strict: bool) -> None:
    """OpenAI's API still takes them; the engine would show the model an empty message."""
    called = {"id": "call_1", "type": "function", "function": CALL}
    assert read(tmp_path, USER, OLD, RESULT, OLD, strict=strict) == [
        USER,
        {"role": "assistant", "content": None, "tool_calls": [called]},
        {"role": "tool", "name": "f", "content": "sun", "tool_call_id": "call_1"},
        {"role": "assistant", "content": None, "tool_calls": [{**called, "id": "call_3"}]},
    ]


@pytest.mark.parametrize(
    "messages",
    [
        [USER, {**OLD, "function_call": None}],
        [USER, {**OLD, "tool_calls": [{"id": "a", "type": "function", "function": CALL}]}],
        [{**USER, "function_call": CALL}, RESULT],
        [RESULT],
        [USER, "text"],
    ],
)
def test_other_messages_stay_as_they_are(tmp_path: Path, messages: list[Any]) -> None:
    assert read(tmp_path, *messages) == messages


def test_a_result_of_another_name_is_no_answer_to_the_call(tmp_path: Path) -> None:
    assert read(tmp_path, OLD, {**RESULT, "name": "g"})[1] == {**RESULT, "name": "g"}


def test_a_name_that_is_null_is_none(tmp_path: Path) -> None:
    """The engine refuses it, and clients in typed languages write it."""
    assert read(tmp_path, {**USER, "name": None}, {**USER, "name": "ann"}) == [USER, {**USER, "name": "ann"}]


@pytest.mark.parametrize(
    ("member", "named"),
    [
        ({"reasoning_details": [{"type": "reasoning.text", "text": "t"}]}, ["messages[1].reasoning_details"]),
        ({"thinking_blocks": [{"thinking": "t"}]}, ["messages[1].thinking_blocks"]),
        ({"thinking_blocks": [{"thinking": "t"}], "reasoning_content": "t"}, []),
        ({"reasoning_details": [], "thinking_blocks": None}, []),
        ({"audio": {"id": "a"}}, ["messages[1].audio"]),
    ],
)
def test_thoughts_and_words_in_other_servers_forms_are_named(
    tmp_path: Path, member: dict[str, Any], named: list[str]
) -> None:
    assert sent(tmp_path, USER, {**BEGUN, **member}, USER) == ({}, named)


@pytest.mark.parametrize("other", [{}, {"prefix": False}])
@pytest.mark.parametrize(
    "member", [{"audio": "a"}, {"reasoning_details": "t"}, {"thinking_blocks": {"t": 1}}]
)
def test_what_has_not_their_form_is_passed_by_whatever_else_is_looked_for(
    tmp_path: Path, member: dict[str, Any], other: dict[str, Any]
) -> None:
    assert sent(tmp_path, USER, {**BEGUN, **member, **other}, USER, strict=True) == ({}, [])


@pytest.mark.parametrize("name", ["reasoning_details", "thinking_blocks"])
def test_a_strict_gateway_refuses_them(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidRequest, match="is not supported") as refused:
        sent(tmp_path, USER, {**BEGUN, name: [{"text": "t"}]}, USER, strict=True)
    assert refused.value.param == f"messages[1].{name}"
