"""The client's side of a request: an error's answer, a stream's last event, and a client that leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import msgspec
from starlette.types import Message, Receive, Scope, Send

from gateway.dialects.dialect import Dialect
from gateway.errors import RequestError
from gateway.http.request_cycle import client_of
from gateway.relay.request_record import COLD, HeaderList


def error_answer(
    error: RequestError, request_id: bytes, dialect: Dialect | None = None, *, cold: bool = False
) -> tuple[int, HeaderList, bytes]:
    """An error in the dialect's envelope, without one in OpenAI's: status, headers, body."""
    body = dialect.error_body(error, request_id) if dialect else msgspec.json.encode(error.envelope)
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"x-request-id", request_id),
    ]
    if dialect is not None:
        headers += dialect.id_headers(request_id)
    if cold:
        headers.append(COLD)
    if error.retry_after_s is not None:
        headers.append((b"retry-after", b"%d" % error.retry_after_s))
    headers += error.headers
    return error.status, headers, body


async def send_last_event(send: Send, dialect: Dialect, error_body: bytes) -> None:
    """An error's event, and the proper end of a stream."""
    await send({"type": "http.response.body", "body": dialect.last_event(error_body), "more_body": False})


async def until_client_leaves(work: Awaitable[None], scope: Scope, receive: Receive) -> bool:
    """Run `work` to its end, or cancel it when the client leaves; False when it left.

    The cancellation can only arrive while `work` is suspended, so it is always `work` that sees it. The own
    server tells of a client that leaves; under another, `receive` does, since after a request's body it
    returns only at the disconnect.
    """
    client = client_of(scope)
    running = client.task if client is not None else asyncio.current_task()
    assert running is not None
    left = over = False

    def leave(_: asyncio.Future[Message] | None = None) -> None:
        nonlocal left
        if not over:
            left = True
            running.cancel()

    gone: asyncio.Future[Message] | None = None
    if client is not None:
        client.on_leave(leave)
    else:
        gone = asyncio.ensure_future(receive())
        gone.add_done_callback(leave)
    try:
        await work
    except asyncio.CancelledError:
        if not left:
            raise
        running.uncancel()  # it was ours, and is over: nobody further out is to count it
        return False
    else:
        return True
    finally:
        over = True
        if gone is not None:
            gone.cancel()
