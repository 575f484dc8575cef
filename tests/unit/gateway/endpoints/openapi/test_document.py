"""`/openapi.json` against what the gateway really has."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.app import Gateway
from gateway.config.document import Config
from gateway.endpoints.openapi.document import document_of, plain_path
from gateway.endpoints.openapi.endpoint import served
from tests.support.stack import config_of, stack

KEYS = {"team-a": {"sha256": "a" * 64, "tasks": ["naming"]}}


def routes_of(folder: Path) -> set[tuple[str, str]]:
    return served(Gateway(config_of(folder)).starlette.routes)


def test_every_route_is_documented_and_every_documented_route_is_there(tmp_path: Path) -> None:
    routes = routes_of(tmp_path)
    paths = document_of(routes)["paths"]
    assert isinstance(paths, dict)
    documented = {(method.upper(), path) for path, methods in paths.items() for method in methods}  # type: ignore[union-attr]
    assert documented == {(method, plain_path(path)) for method, path in routes}


def test_gateway_without_batches_documents_none(tmp_path: Path) -> None:
    document = config_of(tmp_path).model_dump(by_alias=True) | {"batches": {"enabled": False}}
    config = Config.model_validate(document)
    paths = document_of(served(Gateway(config).starlette.routes))["paths"]
    assert isinstance(paths, dict)
    assert "/v1/batches" not in paths
    assert "/v1/models" in paths


@pytest.mark.anyio
async def test_document_needs_no_key_and_names_no_model(tmp_path: Path) -> None:
    async with stack(tmp_path, keys=KEYS) as gateway:
        answer = await gateway.client.get("/openapi.json")
        assert (await gateway.client.get("/v1/models")).status_code == 401
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["openapi"] == "3.1.0"
    assert b"concept" not in answer.content
