"""A line's request through an endpoint of this process: what the endpoint sees, and what comes back."""

from __future__ import annotations

import asyncio

import pytest
from starlette.types import Receive, Scope, Send

from gateway.admission.api_keys import CALLER, Caller, Principal
from gateway.batches import in_process
from gateway.batches.in_process import Answered, Endpoints, TooLarge
from gateway.relay.request_record import BATCH
from tests.support.waiting import turns

pytestmark = pytest.mark.anyio

SOMEBODY = Principal("a", None)


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with what it was sent, in two pieces."""
    body = scope[CALLER].body
    seen.append(scope)
    await send(
        {"type": "http.response.start", "status": 429, "headers": [(b"retry-after", b"7"), (b"x", b"y")]}
    )
    await send({"type": "http.response.body", "body": body[:2], "more_body": True})
    await send({"type": "http.response.body", "body": body[2:]})


seen: list[Scope] = []


def test_endpoint_sees_a_batchs_own_caller_and_its_answer_comes_whole() -> None:
    endpoints = Endpoints({"/v1/chat/completions": echo})
    assert endpoints.paths == ["/v1/chat/completions"]
    answer = asyncio.run(endpoints.ask("/v1/chat/completions", b"whole", SOMEBODY, "r-1"))
    assert answer == Answered(429, b"whole", "r-1", 7.0)
    scope = seen.pop()
    assert (scope["method"], scope["path"]) == ("POST", "/v1/chat/completions")
    assert scope[CALLER] == Caller(SOMEBODY, BATCH, b"r-1", b"whole")


def test_answer_that_is_too_large_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_process, "MOST_ANSWER_BYTES", 4)
    endpoints = Endpoints({"/x": echo})
    assert asyncio.run(endpoints.ask("/x", b"four", SOMEBODY, "r")).body == b"four"
    with pytest.raises(TooLarge):
        asyncio.run(endpoints.ask("/x", b"5ives", SOMEBODY, "r"))


async def test_its_client_never_leaves_by_itself() -> None:
    async def listens(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()

    asking = asyncio.create_task(Endpoints({"/x": listens}).ask("/x", b"", SOMEBODY, "r"))
    await turns()
    assert not asking.done()
    asking.cancel()
