"""Compressed bodies: bounds and codings."""

from __future__ import annotations

import gzip
import zlib

import pytest
import zstandard

from gateway.endpoints.unpacking import MAX_WINDOW_BYTES, unpack
from gateway.errors import InvalidRequest, PayloadTooLarge
from tests.unit.gateway.http.test_http_clients import BODY

pytestmark = pytest.mark.anyio


def test_unpacking_holds_to_its_bound_to_the_byte() -> None:
    for coding, body in (
        ("gzip", gzip.compress(b"x" * 1000, mtime=0)),
        ("gzip", gzip.compress(b"x" * 500, mtime=0) * 2),
        ("deflate", zlib.compress(b"x" * 1000)),
        ("zstd", zstandard.compress(b"x" * 1000)),
    ):
        assert bytes(unpack(coding, body, 1000)) == b"x" * 1000
        with pytest.raises(PayloadTooLarge):
            unpack(coding, body, 999)


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", BODY),
        ("gzip", gzip.compress(BODY, mtime=0)[:-1]),
        ("gzip", gzip.compress(BODY, mtime=0) + b"junk"),
        ("gzip", b""),
        ("deflate", zlib.compress(BODY) + b"junk"),
        ("deflate", b"\xff\xff"),
        ("zstd", BODY),
    ],
)
def test_what_is_not_of_its_coding_is_400(coding: str, body: bytes) -> None:
    with pytest.raises(InvalidRequest, match=coding):
        unpack(coding, body, 10_000)


def test_window_of_zstd_is_bounded() -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=27, enable_ldm=True)
    packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    body = packer.compress(b"x" * 1000) + packer.flush()
    assert MAX_WINDOW_BYTES < 1 << 27
    with pytest.raises(InvalidRequest):
        unpack("zstd", body, 1000)
