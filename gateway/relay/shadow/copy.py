"""One request that is copied: it watches the client's own answer on its way out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import replace

from starlette.types import Message, Send

from gateway.dialects.chat.said import Said
from gateway.dialects.request_body import Fields
from gateway.relay.direct import Client
from gateway.relay.request_record import Exchange
from gateway.relay.shadow.comparison import Gathered
from gateway.routing.table import Route

Begin = Callable[["Copy"], "asyncio.Task[None] | None"]
"""Sends a copy; None where it is not to be."""


class Copy:
    """One request that is copied, and what becomes of the client's own answer to it."""

    __slots__ = (
        "_begin",
        "_gathered",
        "_over",
        "_task",
        "candidate",
        "exchange",
        "fields",
        "own",
        "route",
        "size_bytes",
        "streamed",
    )

    def __init__(
        self,
        begin: Begin,
        exchange: Exchange,
        route: Route,
        candidate: str,
        fields: Fields,
        size_bytes: int,
        streamed: bool,
    ) -> None:
        self._begin = begin
        self._gathered = Gathered(streamed, exchange.dialect)
        self._task: asyncio.Task[None] | None = None
        self._over = False
        self.exchange = exchange
        self.route = route
        self.candidate = candidate
        self.fields = fields
        self.size_bytes = size_bytes
        self.streamed = streamed
        self.own: asyncio.Future[Said | None] = asyncio.get_running_loop().create_future()

    def saw(self, piece: bytes, last: bool) -> None:
        """The client has been sent these bytes of its answer."""
        if self._over:
            return
        if self._task is None:
            # The status is the engine's: an answer of ours, an error's, begins no copy.
            self._task = self._begin(self) if self.exchange.status == 200 else None
            if self._task is None:
                self._over = True
                return
        self._gathered.feed(piece)
        if last:
            self._over = True
            if not self.own.done():
                self.own.set_result(self._answer())

    def over(self) -> None:
        """The client's request has ended; where its answer was not whole, there is nothing to compare."""
        if not self._over:
            self._over = True
            if self._task is not None:
                self._task.cancel()

    def _answer(self) -> Said | None:
        answer = self._gathered.answer(time.perf_counter() - self.exchange.sent)
        usage = self.exchange.usage
        if answer is not None and usage is not None:  # a client may not have asked for it in its stream
            answer = replace(answer, tokens=usage.completion_tokens or 0)
        return answer

    def passing(self, send: Send) -> Send:
        """A `send` that passes each message on to the given one, then shows this copy what the body holds."""

        async def watched(message: Message) -> None:
            await send(message)
            if message["type"] == "http.response.body":
                self.saw(message.get("body", b""), not message.get("more_body", False))

        return watched


class Watched:
    """The own server's client (`direct.Client`), with a copy beside it."""

    def __init__(self, client: Client, copy: Copy) -> None:
        self._client = client
        self._copy = copy

    def on_leave(self, leave: Callable[[], None]) -> None:
        def left() -> None:
            leave()
            self._copy.over()

        self._client.on_leave(left)

    def on_drained(self, drained: Callable[[], None]) -> None:
        self._client.on_drained(drained)

    def begin(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        self._client.begin(status, headers)

    def write(self, body: bytes, more_body: bool) -> None:
        self._client.write(body, more_body)
        self._copy.saw(body, not more_body)

    def begin_block(self, status: int, block: bytes, length: int | None) -> None:
        self._client.begin_block(status, block, length)

    def answer(self, status: int, block: bytes, body: bytes) -> None:
        self._client.answer(status, block, body)
        self._copy.saw(body, True)

    def write_chunk(self, body: bytes) -> bool:
        more = self._client.write_chunk(body)
        self._copy.saw(body, False)
        return more

    def break_off(self) -> None:
        self._copy.over()
        self._client.break_off()

    def start_task(self) -> None:
        self._copy.over()
        self._client.start_task()
