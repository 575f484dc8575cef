"""The parser, and what stands in its place, or hears it, once a connection brings no further request."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import httptools

from gateway.http.strictness import ChunkSizes


def request_parser(listener: object) -> httptools.HttpRequestParser:
    """What a client sends after "connection: close" is dropped; as an error it would cost it its answer."""
    parser = httptools.HttpRequestParser(listener)
    parser.set_dangerous_leniencies(lenient_data_after_close=True)
    return parser


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
    return b"POST / HTTP/1.1\r\nconnection: close\r\n%b\r\n" % b"".join(framing) if framing else b""
