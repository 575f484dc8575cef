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


@pytest.mark.parametrize("kind", ["json_object", "json_schema"])
@pytest.mark.parametrize("member", ["schema", "value"])
def test_a_schema_beside_the_type_is_followed(tmp_path: Path, kind: str, member: str) -> None:
    assert sent(CHAT, tmp_path, {"type": kind, member: SCHEMA}) == NAMED


@pytest.mark.parametrize("kind", ["regex", "grammar"])
def test_a_form_that_the_engine_has_elsewhere_is_refused_with_its_name(tmp_path: Path, kind: str) -> None:
    with pytest.raises(InvalidRequest, match=f"structured_outputs.{kind}") as refused:
        sent(CHAT, tmp_path, {"type": kind, "value": "a"})
    assert refused.value.param == "response_format.type"


@pytest.mark.parametrize("name", ["response_format", "structured_outputs"])
def test_what_is_empty_asks_for_nothing(tmp_path: Path, name: str) -> None:
    fields = decode_body(b'{"%b":{}}' % name.encode())
    assert CHAT.check_fields(fields, Limits(config_of(tmp_path), lambda: 2048)) == []
    assert not fields


@pytest.mark.parametrize("held", [{"name": "n"}, {"name": "n", "schema": None}])
def test_a_schema_that_is_missing_is_named(tmp_path: Path, held: object) -> None:
    """The engine's own words name its inner fields, and no place."""
    with pytest.raises(InvalidRequest, match="is required") as refused:
        sent(CHAT, tmp_path, {"type": "json_schema", "json_schema": held})
    assert refused.value.param == "response_format.json_schema.schema"
