"""One line's request, asked of the same endpoint that clients ask: an ASGI call in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import msgspec
from starlette.types import ASGIApp, Message, Scope

from gateway.admission.api_keys import CALLER, Caller, Principal
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
        self.paths = list(endpoints)

    async def ask(
        self, path: str, body: bytes, principal: Principal, request_id: str, fields: Decoded | None = None
    ) -> Answered:
        """`fields` are the body's, where it is decoded already.

        Cancelling it aborts the request in the engine. Raises TooLarge.
        """
        caller = Caller(principal, BATCH, request_id.encode(), body, fields)
        scope: Scope = {"type": "http", "method": "POST", "path": path, CALLER: caller}
        collected = _Collected()
        await self._endpoints[path](scope, _nothing_more, collected.send)
        return collected.answered(request_id)


async def _nothing_more() -> Message:
    """What a Caller asks stands with it."""
    # A client would say here that it leaves; who breaks a line off cancels its task.
    never: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
    return await never


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
