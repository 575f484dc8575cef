"""What an endpoint behind the router raises is answered in one place."""

from __future__ import annotations

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from gateway.endpoints.asgi import ClientLeft
from gateway.endpoints.refusals import HANDLERS
from gateway.errors import Forbidden, LoraGatewayError, Unavailable

pytestmark = pytest.mark.anyio


class Raising:
    def __init__(self, error: LoraGatewayError) -> None:
        self._error = error

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        raise self._error


async def asked(path: str, error: LoraGatewayError, method: str = "GET") -> httpx.Response:
    route = Route(path, endpoint=Raising(error), methods=["GET"])
    app = Starlette(routes=[route], exception_handlers=HANDLERS)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here") as client:
        return await client.request(method, path, headers={"x-request-id": "mine"})


async def test_an_error_has_its_status_its_envelope_and_when_to_come_again() -> None:
    answer = await asked("/v1/files", Unavailable("The engine is away.", retry_after_s=7))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "7")
    assert answer.headers["x-request-id"] == "mine"
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["error"]["message"] == "The engine is away."


async def test_anthropics_path_has_anthropics_envelope() -> None:
    answer = await asked("/v1/messages/batches", Forbidden("Not yours."))
    assert (answer.status_code, answer.json()["type"]) == (403, "error")
    assert answer.json()["error"]["type"] == "permission_error"
    assert answer.headers["request-id"] == "mine"


async def test_a_client_that_left_is_no_fault() -> None:
    assert not (await asked("/admin/reload", ClientLeft())).content


async def test_a_method_that_is_not_taken_names_those_that_are() -> None:
    answer = await asked("/v1/models", Forbidden("x"), "PUT")
    assert (answer.status_code, answer.json()["error"]["code"]) == (405, "method_not_allowed")
    assert "GET" in answer.headers["allow"]
    assert len(answer.headers.get_list("content-length")) == 1
