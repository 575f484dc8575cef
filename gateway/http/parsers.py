"""The parser, what stands in its place, and what need not be parsed since it was before."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable

import httptools

from gateway.errors import InvalidRequest, RequestError, internal_error
from gateway.http.strictness import ChunkSizes

logger = logging.getLogger("gateway.http.parsers")

MOST_DIGITS = 10  # as in `_LENGTH`
LOOK_EVERY_S = 0.1
"""An engine's heads that differ each time are looked at no more often, for what they may have in common."""
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,10})(?=[ \t\r])", re.IGNORECASE)


class SameHead:
    """The head of a message that was parsed, but for the length of its body.

    Everything else is compared byte by byte, so that what is not parsed again means what it meant before.
    """

    __slots__ = ("_before", "_behind", "_start", "_within")

    def __init__(self, before: bytes, behind: bytes) -> None:
        """All of the head's bytes before and behind the digits of its Content-Length."""
        self._before, self._behind = before, behind
        self._start, self._within = len(before), len(before) + MOST_DIGITS + len(behind)

    def split(self, read: bytes) -> tuple[int, bytes] | None:
        """Of a read that begins with this head: how long its body is, and what follows; else None."""
        # Looked for only where it can be, so that no body is searched.
        end = read.find(self._behind, self._start, self._within)
        if end < 0 or not read.startswith(self._before):
            return None
        digits = read[self._start : end]
        return (int(digits), read[end + len(self._behind) :]) if digits.isdigit() else None


class AnswerHead(SameHead):
    """A good answer's, as it comes again until the clock in it moves on."""

    __slots__ = ("headers", "until")

    def __init__(self, before: bytes, behind: bytes, headers: dict[bytes, bytes], now: float) -> None:
        """`headers` are as `Connection.headers`, here by names in lower case, which need no search for them.

        `now` is a time of the loop's clock.
        """
        super().__init__(before, behind)
        lower = {name.lower(): value for name, value in headers.items()}
        self.headers = {name: value for name, value in lower.items() if name != b"content-length"}
        self.until = now + LOOK_EVERY_S
        """From then on another one may take its place."""


def parts_of(head: bytes) -> tuple[bytes, bytes, bytes] | None:
    """What stands before the digits of its length, those, and what is behind; None where it is no head."""
    found = _LENGTH.search(head)
    if found is None or _LENGTH.search(head, found.end()) or head.find(b"\r\n\r\n") != len(head) - 4:
        return None
    start, end = found.span(1)
    return head[:start], head[start:end], head[end:]


def request_parser(listener: object) -> httptools.HttpRequestParser:
    """What a client sends after "connection: close" is dropped; as an error it would cost it its answer."""
    parser = httptools.HttpRequestParser(listener)
    parser.set_dangerous_leniencies(lenient_data_after_close=True)
    return parser


def why_stopped(error: httptools.HttpParserError) -> RequestError:
    """What a client is told whose bytes the parser went no further in; a fault of ours is logged."""
    why = error.__context__  # what a method of the listener's raised: the parser hides it
    if isinstance(why, RequestError):
        return why
    # A target is looked into by us. An offer of another protocol is what was being handled meanwhile.
    if why is None or isinstance(why, httptools.HttpParserError | httptools.HttpParserUpgrade | UnicodeError):
        return InvalidRequest("The request is not valid HTTP.")
    logger.error("a fault while a request was read", exc_info=why)
    return internal_error()


class Deaf:
    """In a parser's place: what still comes is read and dropped."""

    def feed_data(self, data: bytes) -> None:
        pass


class SizesFirst:
    """Before a parser while a body in chunks comes."""

    def __init__(self, behind: httptools.HttpRequestParser, most_bytes: int, begun: bytes) -> None:
        """`begun`: what has come of the body already. Raises PayloadTooLarge."""
        self.behind = behind
        self._sizes = ChunkSizes(most_bytes)
        self._sizes.feed(begun)

    def feed_data(self, data: bytes) -> None:
        """Raises PayloadTooLarge, and what the parser does."""
        self._sizes.feed(data)
        self.behind.feed_data(data)


class BodyOnly:
    """Of what a parser finds, only the body goes on."""

    def __init__(self, on_body: Callable[[bytes], None], on_message_complete: Callable[[], None]) -> None:
        self.on_body = on_body
        self.on_message_complete = on_message_complete


def head_before_body(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """For a new parser, which is to read the body that goes with these headers; empty where there is none."""
    framing = [
        b"%b: %b\r\n" % header for header in headers if header[0] in (b"content-length", b"transfer-encoding")
    ]
    # "close", since `BodyOnly` would pass on nothing of what comes after that body.
    return b"POST / HTTP/1.1\r\nconnection: close\r\n%b\r\n" % b"".join(framing) if framing else b""
