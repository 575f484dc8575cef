"""The client's side of a request: an error's answer in each API's form, and a client that leaves."""

from __future__ import annotations

import asyncio
import json

import pytest

from gateway.dialects.messages.dialect import MESSAGES
from gateway.errors import Unavailable
from gateway.relay.client_side import error_answer, until_client_leaves
from tests.support.waiting import turns

pytestmark = pytest.mark.anyio

ERROR = Unavailable("Wait.", code="overloaded", retry_after_s=7)


def test_error_is_in_openais_envelope_or_the_dialects() -> None:
    status, headers, body = error_answer(ERROR, b"r-1", cold=True)
    assert status == 503
    assert json.loads(body)["error"]["code"] == "overloaded"
    found = dict(headers)
    assert (found[b"retry-after"], found[b"x-request-id"]) == (b"7", b"r-1")
    assert found[b"content-length"] == b"%d" % len(body)
    assert found[b"x-gateway-cold"] == b"true"
    _, headers, body = error_answer(ERROR, b"r-1", MESSAGES)
    assert json.loads(body)["type"] == "error"
    assert b"x-gateway-cold" not in dict(headers)


def test_work_that_ends_first_is_whole_and_a_client_that_leaves_cancels_it() -> None:
    async def run(work_ends: bool) -> tuple[bool, bool]:
        going, leaving = asyncio.Event(), asyncio.Event()
        cancelled = False

        async def work() -> None:
            nonlocal cancelled
            try:
                await going.wait()
            except asyncio.CancelledError:
                cancelled = True
                raise

        async def receive() -> dict[str, object]:
            await leaving.wait()
            return {"type": "http.disconnect"}

        running = asyncio.create_task(until_client_leaves(work(), {"type": "http"}, receive))
        await turns()
        (going if work_ends else leaving).set()
        return await running, cancelled

    assert asyncio.run(run(True)) == (True, False)
    assert asyncio.run(run(False)) == (False, True)


async def test_cancellation_from_elsewhere_is_no_leaving() -> None:
    never = asyncio.Event()

    async def wait() -> None:
        await never.wait()

    async def receive() -> dict[str, object]:
        await never.wait()
        return {}

    running = asyncio.create_task(until_client_leaves(wait(), {"type": "http"}, receive))
    await turns()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
