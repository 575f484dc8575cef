"""What RFC 9112 asks of a request's head that the parser lets pass: pure decisions on what was read."""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Sequence

import httptools

from gateway.errors import InvalidRequest, PayloadTooLarge

MAX_HEAD_BYTES = 64 * 1024
"""More bytes than this that bring neither body nor end are refused: heads, trailers, chunk extensions.

A whole head is measured, so that none is taken that is longer. Of a part of one that begins behind another
request that read is not counted: the parser does not say where it begins, and a read is bounded itself.
"""

MAX_SIZE_LINE_BYTES = 1024
"""A longer line before a chunk is no longer looked at here; the parser still is."""

# Numbers: a byte is found in bytes without the exception that `b"?" in …` raises and drops (design 12).
QUESTION_MARK, NUMBER_SIGN, PERCENT = b"?#%"
_ENCODED_SLASH = re.compile("%2f", re.IGNORECASE)
_HEX = re.compile(rb"[0-9A-Fa-f]+")


def split_target(target: bytes) -> tuple[bytes, bytes, str]:
    """A request's path as it came, its query, and its path decoded."""
    raw_path, query = target, b""
    if not target.startswith(b"/") or QUESTION_MARK in target or NUMBER_SIGN in target:
        parsed = httptools.parse_url(target)
        raw_path, query = parsed.path or b"/", parsed.query or b""
    path = raw_path.decode("ascii")
    return raw_path, query, decoded_path(path) if PERCENT in raw_path else path


def decoded_path(path: str) -> str:
    """A path without its percent encoding, but for slashes.

    An encoded slash parts no segments. If it did here, a proxy in front would judge another path than the one
    that is served.
    """
    return "%2F".join(urllib.parse.unquote(part) for part in _ENCODED_SLASH.split(path))


def check_head(version: str, hosts: int, codings: Sequence[bytes]) -> None:
    """Whether a server may go by this head; `codings` are the values of Transfer-Encoding.

    Raises InvalidRequest (400, 501 or 505).
    """
    if version not in ("1.1", "1.0"):
        raise InvalidRequest(
            f"The version HTTP/{version} is not spoken here; send HTTP/1.1.",
            status=505,
            code="http_version_not_supported",
        )
    if hosts > 1 or (hosts == 0 and version == "1.1"):
        raise InvalidRequest(f"A request has one Host header; this one has {hosts or 'none'}.")
    if codings:
        _check_codings(version, codings)


def _check_codings(version: str, values: Sequence[bytes]) -> None:
    codings = [coding.strip().lower() for coding in b",".join(values).split(b",")]
    if version == "1.0":
        raise InvalidRequest("HTTP/1.0 knows no Transfer-Encoding; send a Content-Length.")
    if codings == [b"chunked"]:
        return
    shown = ", ".join(coding[:40].decode("latin-1") for coding in codings[:8])
    message = f"The Transfer-Encoding is {shown!r}; 'chunked' alone is taken."
    if codings[-1] == b"chunked" and codings.count(b"chunked") == 1:  # its end is known, its content is not
        raise InvalidRequest(message, status=501, code="transfer_encoding_not_supported")
    raise InvalidRequest(message)


class ChunkSizes:
    """Reads the sizes of a body's chunks ahead of the parser, which does not tell them.

    So a chunk that cannot fit is refused when it is announced, instead of waited for. Whether the chunks are
    well-formed is the parser's to say: what is not understood here ends the look.
    """

    __slots__ = ("_line", "_most_bytes", "_over", "_skip_bytes")

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._skip_bytes = 0
        self._line = b""
        self._over = False

    def feed(self, data: bytes) -> None:
        """Look at the next bytes. Raises PayloadTooLarge (413) where they announce what cannot fit."""
        start = 0
        while not self._over:
            passed = min(self._skip_bytes, len(data) - start)
            self._skip_bytes -= passed
            start += passed
            if start == len(data):
                return
            end = data.find(b"\n", start)
            self._line += data[start : end + 1 if end >= 0 else len(data)]
            if end < 0:
                self._over = len(self._line) > MAX_SIZE_LINE_BYTES
                return
            start = end + 1
            self._announced()

    def _announced(self) -> None:
        line, self._line = self._line, b""
        found = _HEX.match(line)
        size = int(found[0], 16) if found else 0
        if size > self._most_bytes:
            raise PayloadTooLarge(f"A chunk of {size} bytes; the body may have {self._most_bytes}.")
        self._over = size == 0
        self._skip_bytes = size + 2  # its line break too
