"""A schema beside `json_object`, which the engine would pass over."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.dialects.chat.dialect import CHAT, TEXT
from gateway.dialects.dialect import Dialect
from gateway.dialects.parameters import Limits
from gateway.dialects.request_body import decode_body
from gateway.errors import InvalidRequest
from tests.support.stack import config_of

SCHEMA = {"type": "object", "properties": {"name": {"type": "string"}}}
NAMED = {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA}}


def sent(dialect: Dialect, folder: Path, form: object, **gateway: Any) -> object:
    """What of a response_format goes to the engine."""
    fields = decode_body(json.dumps({"response_format": form}).encode())
    assert dialect.check_fields(fields, Limits(config_of(folder, **gateway), lambda: 2048)) == []
    return json.loads(bytes(fields["response_format"]))


@pytest.mark.parametrize("dialect", [CHAT, TEXT], ids=lambda one: one.name)
def test_the_schema_counts(tmp_path: Path, dialect: Dialect) -> None:
    assert sent(dialect, tmp_path, {"type": "json_object", "schema": SCHEMA}) == NAMED


@pytest.mark.parametrize(
    "form",
    [
        {"type": "text"},
        {"type": "json_object"},
        {"type": "json_object", "schema": None},
        {"type": "json_object", "json_schema": None},
        NAMED,
        {**NAMED, "schema": SCHEMA},
        "json_object",
    ],
)
def test_all_else_goes_as_it_came(tmp_path: Path, form: object) -> None:
    assert sent(CHAT, tmp_path, form) == form


@pytest.mark.parametrize(("schema", "strict"), [("x", "lenient"), (SCHEMA, "strict")])
def test_what_is_no_schema_or_is_not_in_the_right_place_is_refused(
    tmp_path: Path, schema: object, strict: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        sent(CHAT, tmp_path, {"type": "json_object", "schema": schema}, parameters=strict)
    assert refused.value.param == "response_format.schema"
