"""The head of the request that is being read, and whether a server may go by it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gateway.config.origins import OwnName
from gateway.errors import HeadTooLarge, InvalidRequest
from gateway.http.parsers import SameHead, parts_of
from gateway.http.strictness import MAX_HEAD_BYTES, check_head

MAX_HEADERS = 128
MOST_HEADS = 4
"""Of one connection so many are kept, one after the other, in the hope that they come again."""
TRIED_AGAIN = 16
"""After those one in so many is kept: heads that differ each time may have been another client's."""
MOST_KNOWN_BYTES = 8 * 1024
"""A longer head is not kept, since an idle connection holds what is."""
LENGTH = b"content-length"
Headers = list[tuple[bytes, bytes]]


class KnownHead(SameHead):
    """A head that was read and judged: where it comes again on its connection, that is not done again.

    Clients send the same head with each request on a connection, but for the length of the body.
    """

    __slots__ = ("_headers", "_length_at", "added", "awaits", "seen_by", "serve", "target", "unjudged_by")

    def __init__(
        self,
        before: bytes,
        behind: bytes,
        headers: Headers,
        length_at: int,
        target: tuple[bytes, bytes, str],
        added: bytes,
        unjudged_by: OwnName | None,
        serve: Callable[[Any], bool],
    ) -> None:
        """`target` as `strictness.split_target` tells it, `added` as `Cycle.added`, `serve` is `Express`'.

        `length_at`: which of the headers tells the length. `unjudged_by`: who refused nobody when the head
        was read, and may do so later.
        """
        super().__init__(before, behind)
        self._headers, self._length_at = headers, length_at
        self.target, self.added, self.unjudged_by, self.serve = target, added, unjudged_by, serve
        self.awaits: tuple[bytes, int] | None = None
        """It has come again, as it stands here, and so long a body is to follow."""
        self.seen_by: Any = None
        """What whoever serves it has read of it."""

    def headers_with(self, body: bytes) -> Headers:
        """Its headers, with the length of that body."""
        headers = self._headers.copy()
        headers[self._length_at] = LENGTH, b"%d" % len(body)
        return headers


class HeadReader:
    """A base class, since another object beside each connection would be a hop more for each header."""

    own_name: OwnName | None = None

    def __init__(self) -> None:
        self._url: bytes | None = None
        """Its target, as far as it has come; None where no head is being read."""
        self._headers: list[tuple[bytes, bytes]] = []
        self._expects_continue = False
        self._read = b""
        """What is being parsed, from the read on that the head began in."""
        self._known: KnownHead | None = None
        """The last request's, where the next one may come with the same."""
        self._heads_to_keep = MOST_HEADS
        """Less than 0 by how many have come since, of which none came again."""

    def _begin_head(self) -> None:
        self._url = b""
        self._headers = []
        self._expects_continue = False

    def on_url(self, url: bytes) -> None:
        self._url = self._url + url if self._url else url

    def on_header(self, name: bytes, value: bytes) -> None:
        headers = self._headers
        if len(headers) >= MAX_HEADERS:
            raise HeadTooLarge
        headers.append((name.lower(), value))

    def _check_head(self, method: bytes, url: bytes, version: str) -> bytes | None:
        """What was read behind the head, where a body in chunks follows and its place is known.

        Raises RequestError for what the parser lets pass.
        """
        read = self._read
        # The parser takes RTSP for HTTP, and does not say where a head begins or ends.
        line = method + b" " + url + b" HTTP/"
        begin = 0 if read.startswith(line) else read.find(line)
        if begin < 0:
            raise InvalidRequest("The first line must be: method, target and HTTP/1.1, a space between each.")
        headers = self._headers
        # Nearly every head is known as sound by this: nothing twice, no chunks, no expectation.
        said = dict(headers)
        codings: list[bytes] = []
        if (
            len(said) != len(headers)
            or b"host" not in said
            or b"transfer-encoding" in said
            or b"expect" in said
            or version != "1.1"
        ):
            codings = self._values(b"transfer-encoding")
            check_head(version, len(self._values(b"host")), codings)
            # HTTP/1.0 knows no interim answers (RFC 9110, 10.1.1).
            self._expects_continue = version == "1.1" and any(
                value.lower() == b"100-continue" for value in self._values(b"expect")
            )
        if self.own_name is not None:
            self.own_name.check(method, said)
        if len(read) > MAX_HEAD_BYTES and read.index(b"\r\n\r\n", begin) - begin > MAX_HEAD_BYTES:
            raise HeadTooLarge
        # Behind another request, or of two first lines alike, it is not sure where this head ends.
        if not codings or read[:begin].strip(b"\r\n") or read.count(line) > 1:
            return None
        return read[read.index(b"\r\n\r\n", begin) + 4 :]

    def _kept_head(
        self,
        head: bytes,
        headers: Headers,
        target: tuple[bytes, bytes, str],
        added: bytes,
        serve: Callable[[Any], bool],
    ) -> KnownHead | None:
        """Keep a head that was judged, of a body whose length it tells; what is given is as `KnownHead`'s."""
        parts = parts_of(head) if len(head) <= MOST_KNOWN_BYTES else None
        if parts is None:
            return None
        before, digits, behind = parts
        if (LENGTH, digits) not in headers:
            return None
        length_at = headers.index((LENGTH, digits))  # the only one: the parser refuses a second
        unjudged_by = self.own_name if self.own_name is not None and not self.own_name.refuses() else None
        self._known = KnownHead(before, behind, headers, length_at, target, added, unjudged_by, serve)
        return self._known

    def _values(self, name: bytes) -> list[bytes]:
        return [value for each, value in self._headers if each == name]
