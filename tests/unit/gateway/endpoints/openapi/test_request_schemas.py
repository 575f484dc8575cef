"""The schemas of what is asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.dialects.dialect import Dialect
from gateway.dialects.parameters import Limits
from gateway.dialects.registry import DIALECTS
from gateway.dialects.request_body import Fields, decode_body
from gateway.endpoints.openapi.request_schemas import request_schema
from gateway.errors import InvalidRequest
from tests.support.stack import config_of


def fields_of(key: str, value: object) -> Fields:
    return decode_body(json.dumps({"stream": True, key: value}).encode())


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda one: one.name)
def test_members_of_an_object_that_takes_no_others_are_those_that_the_route_takes(
    tmp_path: Path, dialect: Dialect
) -> None:
    limits = Limits(config_of(tmp_path, parameters="strict"), lambda: None)
    properties: dict[str, Any] = request_schema(dialect)["properties"]  # type: ignore[assignment]
    for key, schema in properties.items():
        if schema.get("additionalProperties") is not False:
            continue
        rule = dialect.rules[key]
        for name, member in schema["properties"].items():
            value = member["enum"][0] if "enum" in member else None
            assert not rule(key, fields_of(key, {name: value}), limits)
        with pytest.raises(InvalidRequest):
            rule(key, fields_of(key, {"made_up": 1}), limits)
