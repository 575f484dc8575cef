"""The head of a request as it comes: bounded, and refused where a server may not go by it."""

from __future__ import annotations

import pytest

from gateway.errors import HeadTooLarge, InvalidRequest, RequestError
from gateway.http.request_head import MAX_HEADERS, HeadReader

PLAIN = b"POST /v1 HTTP/1.1\r\nhost: x\r\n\r\n"


def reader(read: bytes, *headers: tuple[bytes, bytes]) -> HeadReader:
    made = HeadReader()
    made._begin_head()
    made._read = read
    for header in headers:
        made.on_header(*header)
    return made


def test_target_comes_in_pieces_and_names_of_headers_are_made_small() -> None:
    made = reader(PLAIN, (b"Host", b"x"), (b"X-Other", b"Y"))
    made.on_url(b"/v1/ch")
    made.on_url(b"at")
    assert made._url == b"/v1/chat"
    assert made._headers == [(b"host", b"x"), (b"x-other", b"Y")]


def test_headers_are_bounded_and_the_reason_is_kept() -> None:
    made = reader(PLAIN, *[(b"a", b"b")] * MAX_HEADERS)
    with pytest.raises(HeadTooLarge):
        made.on_header(b"a", b"b")
    assert isinstance(made._refusal, HeadTooLarge)


def test_plain_head_passes_and_a_body_in_chunks_is_found() -> None:
    assert reader(PLAIN, (b"host", b"x"))._check_head(b"POST", b"/v1", "1.1") is None
    chunked = PLAIN[:-2] + b"transfer-encoding: chunked\r\n\r\n"
    made = reader(chunked + b"5\r\n", (b"host", b"x"), (b"transfer-encoding", b"chunked"))
    assert made._check_head(b"POST", b"/v1", "1.1") == b"5\r\n"


@pytest.mark.parametrize(
    ("read", "headers", "version"),
    [
        (b"POST /v1 RTSP/1.1\r\nhost: x\r\n\r\n", [(b"host", b"x")], "1.1"),
        (b"POST  /v1 HTTP/1.1\r\nhost: x\r\n\r\n", [(b"host", b"x")], "1.1"),
        (PLAIN, [], "1.1"),
        (PLAIN, [(b"host", b"x"), (b"host", b"y")], "1.1"),
        (PLAIN.replace(b"1.1", b"2.0"), [(b"host", b"x")], "2.0"),
        (PLAIN, [(b"host", b"x"), (b"transfer-encoding", b"gzip")], "1.1"),
    ],
)
def test_head_that_could_mean_two_things_is_refused(
    read: bytes, headers: list[tuple[bytes, bytes]], version: str
) -> None:
    with pytest.raises(RequestError):
        reader(read, *headers)._check_head(b"POST", b"/v1", version)


def test_first_line_of_another_protocol_says_what_it_must_be() -> None:
    with pytest.raises(InvalidRequest, match=r"method, target and HTTP/1\.1"):
        reader(b"POST /v1 RTSP/1.1\r\n\r\n", (b"host", b"x"))._check_head(b"POST", b"/v1", "1.1")


@pytest.mark.parametrize(
    ("expect", "heard"),
    [((b"Expect", b"100-Continue"), True), ((b"expect", b"something"), False), ((b"a", b"b"), False)],
)
def test_expectation_is_heard_in_any_spelling(expect: tuple[bytes, bytes], heard: bool) -> None:
    made = reader(PLAIN, (b"host", b"x"), expect)
    made._check_head(b"POST", b"/v1", "1.1")
    assert made._expects_continue is heard


@pytest.mark.parametrize("host", [[(b"host", b"x")], []])
def test_expectation_of_a_client_that_knows_no_interim_answer_is_not_heard(
    host: list[tuple[bytes, bytes]],
) -> None:
    made = reader(PLAIN, *host, (b"expect", b"100-continue"))
    made._check_head(b"POST", b"/v1", "1.0")
    assert not made._expects_continue
