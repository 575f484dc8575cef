"""The checks around every request of the page's."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from starlette.types import Message

from gateway.admission.api_keys import Keys
from gateway.config.document import KeyConfig
from gateway.errors import NotFound
from gateway.ui.call import Guarded, PageCall
from tests.support.stack import key_of

pytestmark = pytest.mark.anyio


async def answered(
    handler: Any, *, method: str = "GET", query: bytes = b"", signs_in: bool = False
) -> list[Message]:
    keys = Keys({"a": KeyConfig.model_validate(key_of("a"))})
    scope = {
        "type": "http",
        "method": method,
        "headers": [(b"host", b"x")],
        "query_string": query,
        "scheme": "https",
    }
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    await Guarded(keys, handler, signs_in=signs_in)(scope, receive, send)
    return sent


async def test_answers_are_kept_by_nobody_and_guarded() -> None:
    async def handler(call: PageCall) -> object:
        call.cookie("secret", 60)
        return {"find": call.query("find"), "none": call.query("other")}

    head, body = await answered(handler, query=b"a=1&find=nam")
    headers = dict(head["headers"])
    assert msgspec.json.decode(body["body"]) == {"find": "nam", "none": ""}
    assert headers[b"cache-control"] == b"no-store"
    assert headers[b"x-content-type-options"] == b"nosniff"
    assert headers[b"set-cookie"].endswith(b"; HttpOnly; SameSite=Strict; Secure")


async def test_errors_have_the_usual_envelope_and_the_guards() -> None:
    async def handler(call: PageCall) -> object:
        raise NotFound("nothing here")

    head, body = await answered(handler)
    assert head["status"] == 404
    assert dict(head["headers"])[b"x-content-type-options"] == b"nosniff"
    assert msgspec.json.decode(body["body"])["error"]["message"] == "nothing here"


async def test_what_changes_something_needs_the_token_but_for_signing_in() -> None:
    async def handler(call: PageCall) -> object:
        return {}

    assert [(await answered(handler, method=how))[0]["status"] for how in ("GET", "HEAD")] == [200, 200]
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        assert (await answered(handler, method=method))[0]["status"] == 403
    assert (await answered(handler, method="POST", signs_in=True))[0]["status"] == 200
