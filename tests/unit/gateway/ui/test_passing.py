"""The page's way to the gateway's own routes."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from gateway.admission.api_keys import ANYBODY, Keys
from gateway.config.document import KeyConfig
from gateway.errors import NotFound
from gateway.ui.passing import Passing
from tests.support.stack import key_of

pytestmark = pytest.mark.anyio

HEADERS = [
    (b"cookie", b"lora_gateway_session=x"),
    (b"authorization", b"Bearer forged"),
    (b"x-api-key", b"forged"),
    (b"x-csrf-token", b"t"),
    (b"content-type", b"text/plain"),
    (b"x-request-id", b"r-1"),
]


class Application:
    """Keeps what it was asked, and who its keys say that was."""

    def __init__(self) -> None:
        self.keys = Keys({"a": KeyConfig.model_validate(key_of("a"))})
        self.scope: dict[str, Any] = {}
        self.name = ""
        self.body: Message = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = dict(scope)
        sent = dict(scope["headers"]).get(b"authorization")
        self.name = self.keys.principal(sent).name if sent else ""
        self.body = await receive()


async def nothing(message: Message | None = None) -> Message:
    return {"type": "http.request", "body": b"own", "more_body": False}


SCOPE = {
    "type": "http",
    "method": "GET",
    "path": "/ui/api/pass/v1/models",
    "headers": HEADERS,
    "path_params": {"x": 1},
}


async def test_a_request_goes_on_as_who_is_signed_in_without_what_the_browser_said_of_itself() -> None:
    app = Application()
    principal = app.keys.principal(b"Bearer a")
    await Passing(app.keys, app).pass_on(principal, "/v1/models", SCOPE, nothing, nothing)  # type: ignore[arg-type]
    assert (app.name, app.scope["path"], app.scope["raw_path"]) == ("a", "/v1/models", b"/v1/models")
    assert "path_params" not in app.scope
    names = [name for name, _ in app.scope["headers"]]
    assert sorted(names) == [b"authorization", b"content-type", b"x-request-id"]


async def test_without_keys_nothing_stands_for_one() -> None:
    app = Application()
    await Passing(app.keys, app).pass_on(ANYBODY, "/v1/models", SCOPE, nothing, nothing)  # type: ignore[arg-type]
    assert b"authorization" not in dict(app.scope["headers"])


async def test_a_body_of_the_pages_own_takes_the_place_of_what_came() -> None:
    app = Application()
    principal = app.keys.principal(b"Bearer a")
    await Passing(app.keys, app).post(principal, "/admin/adapters", b"{}", SCOPE, nothing)  # type: ignore[arg-type]
    assert (app.scope["method"], app.body["body"]) == ("POST", b"{}")
    headers = dict(app.scope["headers"])
    assert (headers[b"content-type"], headers[b"content-length"]) == (b"application/json", b"2")


@pytest.mark.parametrize("path", ["/metrics", "/ui/api/overview", "/", "/v1", "//v1/models", "/admin"])
async def test_other_routes_are_none_of_its_business(path: str) -> None:
    app = Application()
    with pytest.raises(NotFound):
        await Passing(app.keys, app).pass_on(ANYBODY, path, SCOPE, nothing, nothing)  # type: ignore[arg-type]
    assert not app.scope
