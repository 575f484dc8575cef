"""What stands in the parser's place, or before it."""

from __future__ import annotations

import pytest

from gateway.errors import PayloadTooLarge
from gateway.http.parsers import BodyOnly, Deaf, SizesFirst, head_before_body, request_parser

REQUEST = b"POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}"


class Heard(BodyOnly):
    def __init__(self) -> None:
        super().__init__(self.body, self.end)
        self.pieces: list[bytes] = []
        self.ends = 0

    def body(self, piece: bytes) -> None:
        self.pieces.append(piece)

    def end(self) -> None:
        self.ends += 1


def test_what_comes_after_connection_close_is_no_error() -> None:
    heard = Heard()
    request_parser(heard).feed_data(REQUEST + b"GET / HTTP/1.1\r\n\r\nnonsense")
    assert (b"".join(heard.pieces), heard.ends) == (b"{}", 1)


def test_deaf_takes_anything() -> None:
    Deaf().feed_data(b"\x00nonsense")


def test_size_of_a_chunk_is_looked_at_before_the_parser_sees_it() -> None:
    heard = Heard()
    parser = request_parser(heard)
    parser.feed_data(head_before_body([(b"transfer-encoding", b"chunked"), (b"x", b"y")]))
    sizes = SizesFirst(parser, 10, b"")
    sizes.feed_data(b"5\r\nhello\r\n")
    with pytest.raises(PayloadTooLarge):
        sizes.feed_data(b"b\r\n")
    assert heard.pieces == [b"hello"]


def test_what_has_come_already_counts() -> None:
    with pytest.raises(PayloadTooLarge):
        SizesFirst(request_parser(Heard()), 10, b"b\r\n")


def test_head_for_a_new_parser_has_only_what_frames_the_body() -> None:
    assert head_before_body([(b"host", b"x")]) == b""
    head = head_before_body([(b"host", b"x"), (b"content-length", b"2")])
    assert head == b"POST / HTTP/1.1\r\nconnection: close\r\ncontent-length: 2\r\n\r\n"
