"""Whether what the OpenAPI document says of a route fits what was recorded of the real engine there."""

from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from gateway.dialects.dialect import Dialect
from gateway.endpoints.openapi.request_schemas import request_schema
from tests.fakes.fake_engine import recorded


def check_described(dialect: Dialect, name: str) -> None:
    """Request and answer of a recorded exchange; without one member that is promised neither is taken."""
    exchange: Any = recorded(name)
    described = dialect.described
    described.answer.model_validate(exchange["body"])
    for member, field in described.answer.model_fields.items():
        if field.is_required():
            with pytest.raises(ValidationError):
                described.answer.model_validate({**exchange["body"], member: object()})
            with pytest.raises(ValidationError):
                described.answer.model_validate(without(exchange["body"], member))
    asked = exchange["request"]["body"]
    schema = Draft202012Validator(dict(request_schema(dialect)))
    assert not [error.message for error in schema.iter_errors(asked)]
    for member in described.required:
        assert not schema.is_valid(without(asked, member)), member


def without(document: dict[str, Any], member: str) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key != member}
