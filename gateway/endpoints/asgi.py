"""Requests read and answers written, as plain ASGI."""

from __future__ import annotations

import asyncio
import contextlib
import mmap
import random
import re
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

import msgspec
from starlette.types import Message, Receive, Send

from gateway.admission.api_keys import TWICE, FoundKey, Keys, Principal
from gateway.admission.body_lease import BodyLease
from gateway.config.document import GatewayConfig
from gateway.dialects.dialect import Dialect
from gateway.dialects.request_body import Buffer
from gateway.endpoints.unpacking import coding_of, unpack, unpacked
from gateway.errors import (
    Forbidden,
    GatewayTimeout,
    LoraGatewayError,
    PayloadTooLarge,
    RequestError,
    UnsupportedMedia,
)
from gateway.http.request_cycle import Cycle
from gateway.pipeline.stage_progress import WISH
from gateway.relay.client_side import error_answer
from gateway.relay.patience import PATIENCE, take_patience
from gateway.relay.request_record import Exchange

MAPPED_FROM_BYTES = 4 * 1024 * 1024
"""A body of this size or more has pages of its own; getting them took 0.9 ms per MB in a virtual machine."""

REQUEST_ID = re.compile(rb"^[A-Za-z0-9._:@/+=-]{1,128}$")


KEY_HEADERS = frozenset((b"x-api-key", b"api-key"))
ONE_KEY = KEY_HEADERS | {b"authorization"}
NO_HEADERS: Mapping[bytes, bytes] = MappingProxyType({})


class ClientLeft(LoraGatewayError):
    """The client closed its connection; there is nobody to answer."""


class Head:
    """What the gateway reads of a request's headers."""

    __slots__ = (
        "api_keys",
        "authorization",
        "content_encoding",
        "content_length",
        "content_type",
        "key",
        "patience",
        "progress",
        "request_id",
        "sent_id",
    )

    def __init__(self, headers: Sequence[tuple[bytes, bytes]]) -> None:
        # A dict has the last of several; a proxy in front may have judged by another.
        said = dict(headers)
        if len(said) < len(headers):
            said |= _said_twice(headers)
        get = said.get
        self.authorization = get(b"authorization")
        self.api_keys: tuple[bytes, ...] = ()
        """Of `x-api-key` and `api-key`."""
        if not KEY_HEADERS.isdisjoint(said):
            self.api_keys = tuple(said[name] for name in (b"x-api-key", b"api-key") if name in said)
        self.content_encoding = get(b"content-encoding", b"")
        self.content_type = get(b"content-type")
        length = get(b"content-length", b"")
        self.content_length = int(length) if len(length) <= 20 and length.isdigit() else None
        """In bytes; None where it is no number, or not said."""
        self.patience: Mapping[bytes, bytes] = NO_HEADERS if PATIENCE.isdisjoint(said) else said
        """Where it says something of how long its client waits."""
        self.progress = get(b"x-pipeline-progress") == WISH
        """Whether a pipeline's stream is to tell of its stages."""
        sent_id = get(b"x-request-id")
        self.sent_id = sent_id if sent_id is not None and REQUEST_ID.match(sent_id) else None
        self.request_id = self.sent_id or _new_request_id()
        self.key: FoundKey | None = None
        """Where another request may have the same head."""


def read_head(client: Cycle) -> tuple[Head, Principal | None, bytes]:
    """What a head says, whose key it has where that was looked at, and the request's id.

    One that came before on its connection is not read again; its `content_length` is that of the first.
    """
    if client.head is not None:
        head, principal = client.head
        return head, principal, head.request_id
    known = client.known
    if known is None:
        head = Head(client.headers)
    elif known.seen_by is None:
        head = known.seen_by = Head(client.headers)
        head.key = FoundKey()
    else:
        head = known.seen_by
        return head, None, head.sent_id or _new_request_id()
    return head, None, head.request_id


def is_let_in(keys: Keys, most_bytes: int, head: Head | None, body_bytes: int) -> bool:
    """Whether a head that was read before is sure not to be refused before so long a body.

    A key that would have to be looked up is not sure, and a bad one would count twice.
    """
    principal = keys.found(head.key) if head is not None and head.key is not None else None
    if head is None or principal is None or principal.may_nothing or body_bytes > most_bytes:
        return False
    try:
        check_type(head)
    except UnsupportedMedia:
        return False
    return True


def _new_request_id() -> bytes:
    # Told apart, not secret: no system call, as `secrets` makes. A forked worker's `random` is seeded anew.
    return b"%032x" % random.getrandbits(128)


def _said_twice(headers: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """What headers mean that came more than once: codings are one after the other, and a key is `TWICE`."""
    values: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        values.setdefault(name, []).append(value)
    said = {name: TWICE for name in ONE_KEY if len(values.get(name, ())) > 1}
    if b"content-encoding" in values:
        said[b"content-encoding"] = b",".join(values[b"content-encoding"])
    return said


def check_head(head: Head, bounds: GatewayConfig) -> None:
    """Refuse a body by what its headers say. Raises UnsupportedMedia (415), PayloadTooLarge (413)."""
    check_type(head)
    length = head.content_length
    if length is not None and length > bounds.max_body_bytes:
        raise _too_large(bounds.max_body_bytes)


def check_type(head: Head) -> None:
    """Whether a body is JSON, in a coding that is taken. Raises UnsupportedMedia (415)."""
    content_type = head.content_type
    if (
        content_type is not None
        and content_type != b"application/json"
        and content_type.lower().partition(b";")[0].strip() != b"application/json"
    ):
        shown = content_type[:80].decode("latin-1")
        raise UnsupportedMedia(f"The content type is {shown!r}; send application/json.")
    if head.content_encoding:
        coding_of(head.content_encoding)


def check_before_body(exchange: Exchange, head: Head, principal: Principal) -> None:
    """What is refused whatever a body says and however large it is: of two faults the first here, then the
    size, in whatever pieces a request comes. Raises UnsupportedMedia (415), InvalidRequest, Forbidden.
    """
    check_type(head)
    take_patience(exchange, head.patience)
    if principal.may_nothing:
        raise Forbidden("The key may call no model.", param="model")


async def read_json_body(
    head: Head, receive: Receive, bounds: GatewayConfig, lease: BodyLease | None = None
) -> Buffer:
    """The whole body of a JSON request whose head is checked (`check_before_body`), held once.

    How long it may take in all is the server's to watch (`client_connection`). Compressed, it is unpacked
    within the same bound. `lease`: where what it takes of memory is counted.

    Raises UnsupportedMedia (415), PayloadTooLarge (413), InvalidRequest (400), Unavailable (503),
    GatewayTimeout (408), ClientLeft.
    """
    check_size(head.content_length or 0, bounds.max_body_bytes)
    coding = coding_of(head.content_encoding) if head.content_encoding else ""
    if lease is not None:
        known = None if coding else head.content_length
        # Without a length in its head a small one comes at once, and a compressed one may hold anything.
        if known is not None or coding:
            await lease.take(bounds.max_body_bytes if known is None else known)
    body = await _received(head, receive, bounds, lease)
    if coding:
        body = await unpacked(coding, body, bounds.max_body_bytes)
    if lease is not None:
        lease.settle(len(body))
    return body


async def read_small_body(
    head: Head, receive: Receive, bounds: GatewayConfig, most_bytes: int, taken_by: str
) -> Buffer:
    """The body of a JSON request that has no need to be large, so that what it holds need not be counted.

    `taken_by` says where that is. Raises as `read_json_body`, with PayloadTooLarge from `most_bytes` on,
    before more than that is held.
    """
    check_head(head, bounds)
    body, length, more_body = bytearray(), head.content_length or 0, True
    while more_body and max(length, len(body)) <= most_bytes:
        message = await _next(receive, bounds)
        body += message.get("body", b"")
        more_body = message.get("more_body", False)
    if max(length, len(body)) > most_bytes:
        raise PayloadTooLarge(f"The body is larger than {most_bytes} bytes, the most that {taken_by} takes.")
    coding = coding_of(head.content_encoding) if head.content_encoding else ""
    return unpack(coding, body, most_bytes) if coding else body  # in place: what comes of it is as small


async def _next(receive: Receive, bounds: GatewayConfig) -> Message:
    """What comes of a body. Raises GatewayTimeout (408), ClientLeft."""
    try:
        async with asyncio.timeout(bounds.body_idle_timeout_s):
            message = await receive()
    except TimeoutError:
        raise GatewayTimeout(
            f"Nothing more of the body came within {bounds.body_idle_timeout_s:.0f} s.", status=408
        ) from None
    if message["type"] == "http.disconnect":
        raise ClientLeft
    return message


async def _received(head: Head, receive: Receive, bounds: GatewayConfig, lease: BodyLease | None) -> Buffer:
    # `body_idle_timeout_s` is between two pieces; until the first the server's own deadline holds.
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientLeft
    piece: bytes = message.get("body", b"")
    if not message.get("more_body", False):
        check_size(len(piece), bounds.max_body_bytes)
        return piece
    if lease is not None and head.content_length is None and not head.content_encoding:
        await lease.take(bounds.max_body_bytes)
    return await _collect(head, piece, receive, bounds)


async def _collect(head: Head, piece: bytes, receive: Receive, bounds: GatewayConfig) -> Buffer:
    """A body that comes in pieces, put where it stays: joining them at the end would hold it twice."""
    length = head.content_length or 0
    # Memory that nothing is written to is not used. That of a large body is the system's own, given back at
    # once: on the heap, small requests beside it can keep the hole of the last one from being used again.
    body = _pages(length) if length >= MAPPED_FROM_BYTES else bytearray(length)
    size = 0
    more_body = True
    while True:
        end = size + len(piece)
        check_size(end, bounds.max_body_bytes)
        body[size:end] = piece
        size = end
        if not more_body:
            if isinstance(body, bytearray):  # a mapped one has its head's length: the server takes no other
                del body[size:]
            return body
        message = await _next(receive, bounds)
        piece = message.get("body", b"")
        more_body = message.get("more_body", False)


def _pages(length: int) -> mmap.mmap:
    """Memory of the system's own, in pages of 2 MiB where it has such: a fifth of the time of small ones."""
    pages = mmap.mmap(-1, length, mmap.MAP_PRIVATE)  # shared, Python's default, has small pages alone (147)
    with contextlib.suppress(OSError):
        pages.madvise(mmap.MADV_HUGEPAGE)
    return pages


def check_size(body_bytes: int, most_bytes: int) -> None:
    """Raises PayloadTooLarge (413) where a body has more than `gateway.max_body_bytes`, which it is given."""
    if body_bytes > most_bytes:
        raise _too_large(most_bytes)


def _too_large(most_bytes: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"The body is larger than {most_bytes} bytes (gateway.max_body_bytes).")


async def send_json(
    send: Send,
    document: object,
    request_id: bytes,
    status: int = 200,
    extra: list[tuple[bytes, bytes]] | None = None,
) -> None:
    """Send a document as one whole JSON answer, with its request id and the `extra` headers."""
    body = msgspec.json.encode(document)
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"x-request-id", request_id),
        *(extra or ()),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def send_error(
    send: Send, error: RequestError, request_id: bytes, dialect: Dialect | None = None, *, cold: bool = False
) -> None:
    """An error in the dialect's envelope, without one in OpenAI's."""
    status, headers, body = error_answer(error, request_id, dialect, cold=cold)
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
