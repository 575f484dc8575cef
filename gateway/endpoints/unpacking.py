"""A compressed body, unpacked within a bound (RFC 9110, 8.4)."""

from __future__ import annotations

import asyncio
import io
import zlib
from importlib.util import find_spec

from gateway.dialects.request_body import Buffer
from gateway.errors import InvalidRequest, PayloadTooLarge, UnsupportedMedia

IN_PLACE_BYTES = 16 * 1024
"""A larger body is unpacked in a thread: a full one takes tens of milliseconds."""

MAX_WINDOW_BYTES = 8 * 1024 * 1024
"""What a decoder of zstd on the web must bear, and need not go beyond (RFC 9659)."""

PIECE_BYTES = 4096
"""Fed at once: of gzip's members each leaves the rest of its piece to be read again."""

_GZIP = 16 + zlib.MAX_WBITS


def coding_of(content_encoding: bytes) -> str:
    """The one coding of a body; empty for none. Raises UnsupportedMedia (415) for what is not taken."""
    listed = [coding.strip().lower().decode("latin-1") for coding in content_encoding.split(b",")]
    codings = [coding for coding in listed if coding not in ("", "identity")]
    if not codings:
        return ""
    known = {"gzip": "gzip", "x-gzip": "gzip", "deflate": "deflate"} | (
        {"zstd": "zstd"} if find_spec("zstandard") else {}
    )
    if len(codings) > 1 or codings[0] not in known:
        taken = ", ".join(sorted(set(known.values())))
        raise UnsupportedMedia(
            f"The content encoding is {', '.join(codings)[:80]!r}; one of these is taken: {taken}, or none."
        )
    return known[codings[0]]


async def unpacked(coding: str, body: Buffer, most_bytes: int) -> Buffer:
    """The body without its coding.

    Raises PayloadTooLarge (413) where it would have more than `most_bytes`, InvalidRequest (400).
    """
    if len(body) <= IN_PLACE_BYTES:
        return unpack(coding, body, most_bytes)
    return await asyncio.to_thread(unpack, coding, body, most_bytes)


def unpack(coding: str, body: Buffer, most_bytes: int) -> Buffer:
    """As `unpacked`, but in the calling thread, which it holds up until it is done."""
    found: Buffer
    if coding == "zstd":
        found = _zstd(body, most_bytes)
    elif coding == "gzip":
        found = _inflated(_GZIP, coding, body, most_bytes)
    else:  # some send it without zlib's header, which is against the standard and known to every server
        wrapped = len(body) > 1 and body[0] & 0x0F == 8 and (body[0] << 8 | body[1]) % 31 == 0
        found = _inflated(zlib.MAX_WBITS if wrapped else -zlib.MAX_WBITS, coding, body, most_bytes)
    if len(found) > most_bytes:
        raise PayloadTooLarge(
            f"The body has more than {most_bytes} bytes when it is unpacked (gateway.max_body_bytes)."
        )
    return found


def _inflated(window_bits: int, coding: str, body: Buffer, most_bytes: int) -> bytearray:
    """Up to one byte more than may be; gzip's several members one after the other."""
    found, start = bytearray(), 0
    unpacker = zlib.decompressobj(window_bits)
    while start < len(body) and len(found) <= most_bytes:
        piece = body[start : start + PIECE_BYTES]
        if unpacker.eof:
            if not piece.strip(b"\0"):  # some pad the end
                start += len(piece)
                continue
            if window_bits != _GZIP:
                raise InvalidRequest(f"Bytes follow the end of the body's {coding}.")
            unpacker = zlib.decompressobj(window_bits)
        try:
            # At least 1: of 0 zlib makes no bound at all.
            found += unpacker.decompress(piece, most_bytes + 1 - len(found))
        except zlib.error as error:
            raise InvalidRequest(f"The body is not valid {coding}: {error}") from None
        start += len(piece) - len(unpacker.unused_data)
    if not unpacker.eof and len(found) <= most_bytes:
        raise InvalidRequest(f"The body breaks off before the end of its {coding}.")
    return found


def _zstd(body: Buffer, most_bytes: int) -> bytes:
    import zstandard  # not everywhere installed, and only a few clients send it

    unpacker = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES)
    try:
        with unpacker.stream_reader(io.BytesIO(body), read_across_frames=True) as reader:
            return reader.read(most_bytes + 1)
    except zstandard.ZstdError as error:
        raise InvalidRequest(f"The body is not valid zstd: {error}") from None
