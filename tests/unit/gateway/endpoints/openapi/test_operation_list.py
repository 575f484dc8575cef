"""The operations that are written, one by one."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.dialects.dialect import Dialect
from gateway.dialects.registry import DIALECTS
from gateway.endpoints.administration.commands import COMMANDS
from gateway.endpoints.openapi.document import plain_path
from gateway.endpoints.openapi.operation_list import OPERATIONS
from tests.support.stack import key_of, stack
from tests.unit.gateway.endpoints.openapi.test_document import routes_of


def test_no_operation_is_written_that_no_gateway_has(tmp_path: Path) -> None:
    there = {(method, plain_path(path)) for method, path in routes_of(tmp_path)}
    assert {(one.method, one.path) for one in OPERATIONS} - there == set()


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


def test_fields_of_commands_are_those_that_they_take() -> None:
    bodies = {(one.method, one.path): one.body for one in OPERATIONS}
    for command in COMMANDS:
        body = bodies[command.method, f"/admin{command.path}"]
        properties = {} if body is None else body["properties"]
        assert isinstance(properties, dict)
        assert set(properties) == (command.fields or set()), command.path


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("method", "path", "key", "status"),
    [
        ("GET", "/metrics", "for naming", 403),
        ("POST", "/v1/files", "for none", 403),
        ("GET", "/v1/models", "unknown", 401),
        ("GET", "/v1/models", "unknown again", 429),
    ],
)
async def test_what_keys_are_refused_with_is_documented(
    tmp_path: Path, method: str, path: str, key: str, status: int
) -> None:
    keys = {"a": key_of("for naming", tasks=["naming"]), "b": key_of("for none", tasks=[])}
    async with stack(tmp_path, keys=keys, max_bad_keys_per_minute=1) as gateway:
        document = (await gateway.client.get("/openapi.json")).json()
        for sent in ("unknown", key) if status == 429 else (key,):
            answer = await gateway.client.request(method, path, headers={"authorization": f"Bearer {sent}"})
    assert answer.status_code == status
    assert str(status) in document["paths"][path][method.lower()]["responses"]
