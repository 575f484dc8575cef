"""One line's request, asked of the same endpoint that clients ask: an ASGI call in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import msgspec
from starlette.types import ASGIApp, Message, Scope

from gateway.admission.api_keys import CALLER, Caller, Principal
from gateway.http.request_cycle import CLIENT
from gateway.relay.request_record import BATCH

MOST_ANSWER_BYTES = 64 * 1024 * 1024
"""A larger answer is not kept."""


@dataclass(frozen=True, slots=True)
class Answered:
    """The answer to one request: its HTTP status and body, and how many seconds to wait before a retry."""

    status: int
    body: bytes
    request_id: str
    retry_after_s: float | None = None


Decoded = Mapping[str, msgspec.Raw]
Ask = Callable[[str, bytes, Principal, str, Decoded | None], Awaitable[Answered]]
"""Path, body, whose it is, the request's id, and the body's fields where they are decoded."""


class TooLarge(Exception):
    """The answer was larger than `MOST_ANSWER_BYTES`."""


class Endpoints:
    """The endpoints that a batch may name, by path."""

    def __init__(self, endpoints: Mapping[str, ASGIApp]) -> None:
        self._endpoints = endpoints

    @property
    def paths(self) -> list[str]:
        return list(self._endpoints)

    async def ask(
        self, path: str, body: bytes, principal: Principal, request_id: str, fields: Decoded | None = None
    ) -> Answered:
        """`fields` are the body's, where it is decoded already.

        Cancelling it aborts the request in the engine. Raises TooLarge.
        """
        scope: Scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [
                (b"content-type", b"application/json"),
                (b"x-request-id", request_id.encode()),
            ],
            CALLER: Caller(principal, BATCH, fields),
        }
        sender, collected = _Sender(body), _Collected()
        scope["extensions"] = {CLIENT: sender}
        await self._endpoints[path](scope, sender.receive, collected.send)
        return collected.answered(request_id)


class _Sender:
    """A client that sends its body and stays."""

    found: object = None

    def __init__(self, body: bytes) -> None:
        self._body: bytes | None = body
        self.task = asyncio.current_task()

    def on_leave(self, leave: Callable[[], None]) -> None:
        """It never leaves by itself: whoever waits for that need not listen at `receive`."""

    async def receive(self) -> Message:
        body, self._body = self._body, None
        if body is None:
            await asyncio.get_running_loop().create_future()
        return {"type": "http.request", "body": body, "more_body": False}


class _Collected:
    """An answer as it comes."""

    def __init__(self) -> None:
        self._status = 0
        self._retry_after_s: float | None = None
        self._pieces: list[bytes] = []
        self._size = 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            for name, value in message.get("headers", ()):
                if name == b"retry-after" and value.isdigit():
                    self._retry_after_s = float(value)
            return
        piece = message.get("body", b"")
        self._size += len(piece)
        if self._size > MOST_ANSWER_BYTES:
            raise TooLarge
        self._pieces.append(piece)

    def answered(self, request_id: str) -> Answered:
        return Answered(self._status, b"".join(self._pieces), request_id, self._retry_after_s)
