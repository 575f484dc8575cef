"""Chats and completions as the OpenAPI document tells of them, held against what vLLM answered."""

from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft202012Validator

from gateway.dialects.chat.described import ChatMessage
from gateway.dialects.chat.dialect import CHAT, TEXT
from gateway.dialects.dialect import Dialect
from gateway.endpoints.openapi.request_schemas import request_schema
from tests.support.described import check_described


@pytest.mark.parametrize(("dialect", "name"), [(CHAT, "chat"), (CHAT, "structured"), (TEXT, "completion")])
def test_what_the_engine_answered_is_as_described(dialect: Dialect, name: str) -> None:
    check_described(dialect, name)


def test_a_message_that_calls_a_tool_has_no_text() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    message = ChatMessage.model_validate({"role": "assistant", "content": None, "tool_calls": [call]})
    assert (message.content, message.tool_calls) == (None, [call])


@pytest.mark.parametrize(("dialect", "takes", "refuses"), [(CHAT, True, 3), (TEXT, 3, True)])
def test_log_probabilities_are_a_switch_in_a_chat_and_a_number_beside_a_text(
    dialect: Dialect, takes: object, refuses: object
) -> None:
    properties: Any = request_schema(dialect)["properties"]
    schema = Draft202012Validator(properties["logprobs"])
    assert schema.is_valid(takes)
    assert not schema.is_valid(refuses)


@pytest.mark.parametrize(("dialect", "none"), [(CHAT, False), (TEXT, True)])
def test_an_answer_of_no_token_is_described_where_a_prompt_can_be_echoed(
    dialect: Dialect, none: bool
) -> None:
    properties: Any = request_schema(dialect)["properties"]
    assert Draft202012Validator(properties["max_tokens"]).is_valid(0) is none
