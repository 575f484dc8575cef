"""How long a client waits, as its request's head says, and the answer that ends by then."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Mapping

from starlette.types import Message, Send

from gateway.errors import DeadlineExceeded, InvalidRequest
from gateway.relay.request_record import Exchange

TIMEOUT_MS = b"x-request-timeout-ms"
READ_TIMEOUT_S = b"x-stainless-read-timeout"
TIMEOUT_S = b"x-stainless-timeout"
PATIENCE = frozenset((TIMEOUT_MS, READ_TIMEOUT_S, TIMEOUT_S))
"""The client's own, for the whole answer; and what OpenAI's and Anthropic's SDKs say unasked: how long they
wait for the first bytes, in Python the first, in JavaScript the second, whose fraction is cut off."""


def take_patience(exchange: Exchange, said: Mapping[bytes, bytes]) -> None:
    """Note until when an answer is of use. Raises InvalidRequest where the client's own is no number."""
    if not said:
        return
    own = said.get(TIMEOUT_MS)
    if own is not None:
        milliseconds = _number(own)
        if milliseconds is None:
            shown = own[:40].decode("latin-1")
            raise InvalidRequest(
                f"The header x-request-timeout-ms is {shown!r}; it must be a number of milliseconds over 0."
            )
        exchange.end_by = exchange.arrived + milliseconds / 1000
    seconds = _number(said.get(READ_TIMEOUT_S, b""))
    if seconds is None and said.get(TIMEOUT_S, b"").isdigit():
        seconds = float(said[TIMEOUT_S]) + 1.0  # of however many digits
    if seconds is not None:
        exchange.begin_by = exchange.arrived + seconds


def _number(text: bytes) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if 0 < number < math.inf else None


def in_time(exchange: Exchange, answer: Callable[[Send], Awaitable[None]], send: Send) -> Awaitable[None]:
    """Let `answer` go on for as long as the client waits for all of it; a whole one that has begun may end.

    Raises DeadlineExceeded; where a stream has begun, that is to be its last event (`Exchange.begun`).
    """
    return answer(send) if exchange.end_by == math.inf else _until_late(exchange, answer, send)


async def _until_late(exchange: Exchange, answer: Callable[[Send], Awaitable[None]], send: Send) -> None:
    async def out(message: Message) -> None:
        if message["type"] == "http.response.start":
            if _is_stream(message):
                exchange.begun = True
            else:
                deadline.reschedule(None)
        await send(message)

    loop = asyncio.get_running_loop()
    # Its own clock: `perf_counter`, by which requests are measured, need not begin where the loop's does.
    deadline = asyncio.timeout_at(loop.time() + exchange.end_by - time.perf_counter())
    try:
        async with deadline:
            await answer(out)
    except TimeoutError:
        if not deadline.expired():  # another's within
            raise
        raise DeadlineExceeded from None


def _is_stream(message: Message) -> bool:
    return any(
        name == b"content-type" and value.startswith(b"text/event-stream")
        for name, value in message["headers"]
    )
