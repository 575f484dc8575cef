"""`/openapi.json` against what the gateway really has."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from gateway.app import Gateway
from gateway.config.document import Config
from gateway.dialects.dialect import Dialect
from gateway.dialects.parameters import Limits
from gateway.dialects.registry import DIALECTS
from gateway.dialects.request_body import Fields, decode_body
from gateway.endpoints.administration.commands import COMMANDS
from gateway.endpoints.openapi.document import document_of, plain_path
from gateway.endpoints.openapi.endpoint import served
from gateway.endpoints.openapi.operation import HEADERS, REASONS
from gateway.endpoints.openapi.operation_list import OPERATIONS
from gateway.endpoints.openapi.request_schemas import request_schema
from gateway.errors import InvalidRequest, RequestError
from tests.support.stack import config_of, stack

ROOT = Path(__file__).parents[5]
KEYS = {"team-a": {"sha256": "a" * 64, "tasks": ["naming"]}}


def routes_of(folder: Path) -> set[tuple[str, str]]:
    return served(Gateway(config_of(folder)).starlette.routes)


def test_every_route_is_documented_and_every_documented_route_is_there(tmp_path: Path) -> None:
    routes = routes_of(tmp_path)
    paths = document_of(routes)["paths"]
    assert isinstance(paths, dict)
    documented = {(method.upper(), path) for path, methods in paths.items() for method in methods}  # type: ignore[union-attr]
    assert documented == {(method, plain_path(path)) for method, path in routes}


def test_no_operation_is_written_that_no_gateway_has(tmp_path: Path) -> None:
    there = {(method, plain_path(path)) for method, path in routes_of(tmp_path)}
    assert {(one.method, one.path) for one in OPERATIONS} - there == set()


def test_gateway_without_batches_documents_none(tmp_path: Path) -> None:
    document = config_of(tmp_path).model_dump(by_alias=True) | {"batches": {"enabled": False}}
    config = Config.model_validate(document)
    paths = document_of(served(Gateway(config).starlette.routes))["paths"]
    assert isinstance(paths, dict)
    assert "/v1/batches" not in paths
    assert "/v1/models" in paths


def test_every_header_of_the_gateways_own_is_documented() -> None:
    sources = [file.read_text(encoding="utf-8") for file in (ROOT / "gateway").rglob("*.py")]
    sent = {name for source in sources for name in re.findall(r'b"(x-gateway-[a-z-]+)"', source)}
    assert sent == set(HEADERS)


def test_names_of_operations_are_unique() -> None:
    names = [one.name for one in OPERATIONS]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
def test_parameters_are_those_that_the_route_takes(dialect: Dialect) -> None:
    (operation,) = [one for one in OPERATIONS if one.path == dialect.path.decode()]
    assert operation.body is not None
    properties, required = operation.body["properties"], operation.body["required"]
    assert isinstance(properties, dict)
    assert isinstance(required, list)
    assert set(properties) == dialect.passed | dialect.labels
    assert set(required) <= set(properties)
    assert ("model" in required) is dialect.model_required


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


def test_fields_of_commands_are_those_that_they_take() -> None:
    bodies = {(one.method, one.path): one.body for one in OPERATIONS}
    for command in COMMANDS:
        body = bodies[command.method, f"/admin{command.path}"]
        properties = {} if body is None else body["properties"]
        assert isinstance(properties, dict)
        assert set(properties) == (command.fields or set()), command.path


def test_every_error_has_a_reason() -> None:
    statuses = {error.status for error in RequestError.__subclasses__()}
    assert statuses <= set(REASONS)


@pytest.mark.anyio
async def test_document_needs_no_key_and_names_no_model(tmp_path: Path) -> None:
    async with stack(tmp_path, keys=KEYS) as gateway:
        answer = await gateway.client.get("/openapi.json")
        assert (await gateway.client.get("/v1/models")).status_code == 401
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["openapi"] == "3.1.0"
    assert b"concept" not in answer.content
