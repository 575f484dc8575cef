"""Messages as the OpenAPI document tells of them, held against what vLLM answered."""

from __future__ import annotations

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from gateway.dialects.dialect import Dialect
from gateway.dialects.messages.described import AnthropicError
from gateway.dialects.messages.dialect import COUNT_TOKENS, MESSAGES
from gateway.endpoints.openapi.request_schemas import request_schema
from gateway.errors import InvalidRequest
from tests.support.described import check_described


@pytest.mark.parametrize(("dialect", "name"), [(MESSAGES, "message"), (COUNT_TOKENS, "count_tokens")])
def test_what_the_engine_answered_is_as_described(dialect: Dialect, name: str) -> None:
    check_described(dialect, name)


def test_an_error_has_the_envelope_that_is_described() -> None:
    body = MESSAGES.error_body(InvalidRequest("No.", param="max_tokens"), b"r-1")
    error = AnthropicError.model_validate(json.loads(body))
    assert (error.error.type, error.request_id) == ("invalid_request_error", "r-1")
    assert "No." in error.error.message


def test_the_length_of_an_answer_is_required_and_of_a_count_there_is_none() -> None:
    properties: Any = request_schema(MESSAGES)["properties"]
    assert not Draft202012Validator(properties["max_tokens"]).is_valid(None)
    counted: Any = request_schema(COUNT_TOKENS)["properties"]
    assert "max_tokens" not in counted
