"""One request to the engine and its bytes back, as they come.

The body is decoded one level deep: `model` is replaced, what the task's contract holds is added where the
client gave nothing, and everything else goes on byte for byte.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager

import msgspec
from starlette.types import Message, Receive, Send

from gateway.errors import EngineError, InvalidRequest, RequestError, Unavailable
from gateway.limits import Admission
from gateway.replicas import Replicas
from gateway.table import Contract, Route
from gateway.upstream import Connection, Upstream

logger = logging.getLogger("gateway.relay")

Fields = dict[str, msgspec.Raw]
HeaderList = list[tuple[bytes, bytes]]

MAX_ERROR_BYTES = 64 * 1024
"""More of an engine's error answer than this is not read."""

_decode_fields = msgspec.json.Decoder(Fields).decode
_STAND_INS = {
    "max_tokens": ("max_tokens", "max_completion_tokens"),
    "max_completion_tokens": ("max_tokens", "max_completion_tokens"),
}
_FORMATS = (
    "response_format",
    "structured_outputs",
    "guided_json",
    "guided_regex",
    "guided_choice",
    "guided_grammar",
)


class _Message(msgspec.Struct):
    """Of a message only the role is looked at."""

    role: str


_decode_messages = msgspec.json.Decoder(list[_Message]).decode


def decode_body(body: bytes) -> Fields:
    """A request's top-level fields, their values undecoded. Raises InvalidRequest."""
    try:
        return _decode_fields(body)
    except msgspec.ValidationError:
        raise InvalidRequest("The body must be a JSON object.") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"The body is not valid JSON: {error}") from None
    except RecursionError:
        raise InvalidRequest("The body is nested too deeply.") from None


def text_field(fields: Fields, key: str) -> str:
    """A required field that must be a string. Raises InvalidRequest."""
    if key not in fields:
        raise InvalidRequest(f"'{key}' is required.", param=key, code="missing_required_parameter")
    try:
        return msgspec.json.decode(fields[key], type=str)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise InvalidRequest(f"'{key}' must be a string.", param=key) from None


def flag_field(fields: Fields, key: str) -> bool:
    """An optional boolean; null counts as false. Raises InvalidRequest."""
    raw = bytes(fields.get(key, b"null"))
    if raw not in (b"true", b"false", b"null"):
        raise InvalidRequest(f"'{key}' must be true or false.", param=key)
    return raw == b"true"


def apply_contract(fields: Fields, route: Route) -> None:
    """Write the engine's model name and, where the client gave none, the task's own settings."""
    contract = route.contract
    fields["model"] = route.model_json
    for key, value in contract.defaults.items():
        if not any(name in fields for name in _STAND_INS.get(key, (key,))):
            fields[key] = value
    if contract.response_format is not None and not any(name in fields for name in _FORMATS):
        fields["response_format"] = contract.response_format
    if contract.system_message is not None and "messages" in fields:
        fields["messages"] = with_system(fields["messages"], contract)


def with_system(messages: msgspec.Raw, contract: Contract) -> msgspec.Raw:
    """The messages, the task's system prompt before them unless they have one. Raises InvalidRequest."""
    try:
        roles = _decode_messages(messages)
    except msgspec.MsgspecError as error:
        raise InvalidRequest(
            f"'messages' must list messages with a role: {error}", param="messages"
        ) from None
    if not roles or any(message.role in ("system", "developer") for message in roles):
        return messages
    rest = bytes(messages).lstrip()[1:]
    return msgspec.Raw(b"".join((b"[", contract.system_message or b"", b",", rest)))


class Exchange:
    """One admitted request: what was asked, and where the time went."""

    __slots__ = ("arrived", "connection", "queue_ms", "replica", "route", "sent", "upstream")

    def __init__(
        self, route: Route, replica: str, upstream: Upstream, queue_ms: float, arrived: float
    ) -> None:
        self.route = route
        self.replica = replica
        self.upstream = upstream
        self.queue_ms = queue_ms
        self.arrived = arrived
        self.sent = 0.0
        self.connection: Connection | None = None

    def headers(self, now: float, engine_s: float) -> HeaderList:
        """The answer's own headers: who answered, and what was waited for, in milliseconds."""
        overhead_ms = max(0.0, (now - self.arrived - engine_s) * 1000 - self.queue_ms)
        return [
            (b"x-gateway-task", self.route.name.encode()),
            (b"x-gateway-adapter", (self.route.adapter_id or "").encode()),
            (b"x-gateway-replica", self.replica.encode()),
            (b"x-gateway-queue-ms", b"%.1f" % self.queue_ms),
            (b"x-gateway-overhead-ms", b"%.2f" % overhead_ms),
        ]


class Relay:
    """Admission, the engine, and the way back."""

    def __init__(self, replicas: Replicas, admission: Admission) -> None:
        self._replicas = replicas
        self._admission = admission

    @property
    def replicas(self) -> Replicas:
        return self._replicas

    @asynccontextmanager
    async def exchange(
        self, route: Route, path: bytes, body: bytes, request_id: bytes, arrived: float
    ) -> AsyncIterator[tuple[Exchange, Connection]]:
        """A request at the engine whose answer has begun; leaving the block early aborts it there.

        Raises Unavailable (503), EngineError (502), GatewayTimeout (504).
        """
        self._replicas.pick(route)  # an engine that is not there is no reason to wait for a place
        ticket = await self._admission.enter(route.name)
        try:
            replica = self._replicas.pick(route)  # the wait may have outlived the first one
            exchange = Exchange(route, replica.name, replica.upstream, ticket.queue_ms, arrived)
            exchange.sent = time.perf_counter()
            connection = await replica.upstream.exchange(
                b"POST", path, body, ((b"x-request-id", request_id),)
            )
            exchange.connection = connection
            try:
                yield exchange, connection
            finally:
                replica.upstream.finish(connection)
        finally:
            self._admission.leave(ticket)

    async def forward(
        self, route: Route, path: bytes, body: bytes, request_id: bytes, arrived: float, send: Send
    ) -> None:
        """Ask the engine and pass its answer on. Raises RequestError only before the first byte went out."""
        async with self.exchange(route, path, body, request_id, arrived) as (exchange, connection):
            answered = time.perf_counter()
            if connection.status >= 500:
                raise await engine_failure(connection, request_id)
            streaming = False
            first = b""
            length = None
            content_type = b"application/json"
            for name, value in connection.headers:
                if name == b"content-type":
                    content_type = value
                    streaming = value.startswith(b"text/event-stream")
            if not streaming:
                first = await _read_all(connection)
                answered = time.perf_counter()
                length = len(first)
            now = time.perf_counter()
            headers = exchange.headers(now, answered - exchange.sent)
            headers += [(b"content-type", content_type), (b"x-request-id", request_id)]
            if length is not None:
                headers.append((b"content-length", b"%d" % length))
            else:
                headers.append((b"cache-control", b"no-cache"))
            await send({"type": "http.response.start", "status": connection.status, "headers": headers})
            if streaming:
                await _relay_stream(connection, request_id, send)
            else:
                await send({"type": "http.response.body", "body": first, "more_body": False})


async def _read_all(connection: Connection) -> bytes:
    first = await connection.read()
    if connection.complete and not connection.unread:
        return first
    pieces = [first]
    while piece := await connection.read():
        pieces.append(piece)
    return b"".join(pieces)


async def _relay_stream(connection: Connection, request_id: bytes, send: Send) -> None:
    """Chunk by chunk; an engine that breaks off leaves an SSE error event and a proper end."""
    tail = b"\n\n"
    try:
        while piece := await connection.read():
            tail = piece[-2:]
            await send({"type": "http.response.body", "body": piece, "more_body": True})
    except RequestError as error:
        logger.warning("request %s: stream broken off: %s", request_id.decode(), error.message)
        event = b"" if tail == b"\n\n" else b"\n\n"
        event += b"data: " + msgspec.json.encode(error.envelope) + b"\n\n"
        await send({"type": "http.response.body", "body": event, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def engine_failure(connection: Connection, request_id: bytes) -> EngineError | Unavailable:
    """An engine's own 5xx: its text goes to the log, since it may hold paths and addresses."""
    text = bytearray()
    while len(text) < MAX_ERROR_BYTES and (piece := await connection.read()):
        text += piece
    shown = bytes(text[:2000]).decode(errors="replace")
    logger.error("request %s: the engine answered %d: %s", request_id.decode(), connection.status, shown)
    if connection.status == 503:
        return Unavailable("The engine is overloaded.", code="overloaded", retry_after_s=1)
    return EngineError("The engine failed on this request; its log says why.", status=connection.status)


async def until_client_leaves(work: Awaitable[None], receive: Receive) -> bool:
    """Run `work` to its end, or cancel it when the client leaves; False when it left.

    After a request's body `receive` returns only at the client's disconnect. The cancellation can only
    arrive while `work` is suspended, so it is always `work` that sees it.
    """
    running = asyncio.current_task()
    assert running is not None
    left = False

    def leave(_: asyncio.Future[Message]) -> None:
        nonlocal left
        left = True
        running.cancel()

    gone = asyncio.ensure_future(receive())
    gone.add_done_callback(leave)
    try:
        await work
    except asyncio.CancelledError:
        if not left:
            raise
        running.uncancel()
        return False
    else:
        return True
    finally:
        gone.remove_done_callback(leave)
        gone.cancel()
