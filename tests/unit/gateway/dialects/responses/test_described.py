"""Responses as the OpenAPI document tells of them, held against what vLLM answered."""

from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft202012Validator

from gateway.dialects.responses.dialect import RESPONSES
from gateway.endpoints.openapi.request_schemas import request_schema
from tests.support.described import check_described


def test_what_the_engine_answered_is_as_described() -> None:
    check_described(RESPONSES, "response")


@pytest.mark.parametrize(
    ("name", "takes", "refuses"),
    [
        ("background", False, True),
        ("text", {"format": {"type": "text"}, "verbosity": "medium"}, {"other": 1}),
        ("reasoning", {"effort": "low"}, {"other": 1}),
        ("stream_options", {"include_obfuscation": False}, {"include_obfuscation": True}),
    ],
)
def test_values_that_have_no_effect_here_are_described_as_refused(
    name: str, takes: object, refuses: object
) -> None:
    properties: Any = request_schema(RESPONSES)["properties"]
    schema = Draft202012Validator(properties[name])
    assert schema.is_valid(takes)
    assert not schema.is_valid(refuses)
