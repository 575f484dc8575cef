"""Requests read and answers written, as plain ASGI."""

from __future__ import annotations

import asyncio
import re
import uuid

import msgspec
from starlette.types import Receive, Scope, Send

from gateway.config import GatewayConfig
from gateway.errors import GatewayTimeout, LoraGatewayError, PayloadTooLarge, RequestError, UnsupportedMedia

REQUEST_ID = re.compile(rb"^[A-Za-z0-9._:@/+=-]{1,128}$")


class ClientLeft(LoraGatewayError):
    """The client closed its connection; there is nobody to answer."""


def header(scope: Scope, name: bytes) -> bytes | None:
    """The first value of a header, given in lower case."""
    for key, value in scope["headers"]:
        if key == name:
            return bytes(value)
    return None


def request_id_of(scope: Scope) -> bytes:
    """The client's X-Request-Id where it is well-formed, else a new one."""
    given = header(scope, b"x-request-id")
    if given is not None and REQUEST_ID.match(given):
        return given
    return uuid.uuid4().hex.encode()


async def read_json_body(scope: Scope, receive: Receive, bounds: GatewayConfig) -> bytes:
    """The whole body of a JSON request.

    Raises UnsupportedMedia (415), PayloadTooLarge (413), GatewayTimeout (504), ClientLeft.
    """
    content_type = header(scope, b"content-type")
    if content_type is not None and content_type.lower().partition(b";")[0].strip() != b"application/json":
        shown = content_type[:80].decode("latin-1")
        raise UnsupportedMedia(f"The content type is {shown!r}; send application/json.")
    length = header(scope, b"content-length")
    if length is not None and length.isdigit() and int(length) > bounds.max_body_bytes:
        raise _too_large(bounds)
    try:
        async with asyncio.timeout(bounds.receive_timeout_s):
            return await _receive_all(receive, bounds)
    except TimeoutError:
        raise GatewayTimeout(
            f"The request's body did not arrive within {bounds.receive_timeout_s:.0f} s.", status=408
        ) from None


async def _receive_all(receive: Receive, bounds: GatewayConfig) -> bytes:
    pieces: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientLeft
        piece = message.get("body", b"")
        if not message.get("more_body", False) and not pieces:
            if len(piece) > bounds.max_body_bytes:
                raise _too_large(bounds)
            return bytes(piece)
        pieces.append(piece)
        size += len(piece)
        if size > bounds.max_body_bytes:
            raise _too_large(bounds)
        if not message.get("more_body", False):
            return b"".join(pieces)


def _too_large(bounds: GatewayConfig) -> PayloadTooLarge:
    return PayloadTooLarge(f"The body is larger than {bounds.max_body_bytes} bytes (gateway.max_body_bytes).")


async def send_json(
    send: Send,
    document: object,
    request_id: bytes,
    status: int = 200,
    extra: list[tuple[bytes, bytes]] | None = None,
) -> None:
    """One JSON answer."""
    body = msgspec.json.encode(document)
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"x-request-id", request_id),
        *(extra or ()),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def send_error(send: Send, error: RequestError, request_id: bytes) -> None:
    """An error in OpenAI's envelope."""
    extra = [] if error.retry_after_s is None else [(b"retry-after", b"%d" % error.retry_after_s)]
    await send_json(send, error.envelope, request_id, error.status, extra)
