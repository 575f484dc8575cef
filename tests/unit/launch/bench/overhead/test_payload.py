"""What the mock engine answers, and how it is read again."""

from __future__ import annotations

import pytest

from launch.bench.overhead import payload
from launch.bench.overhead.stream_load import Expected


def stream_of(tokens: int, delay_us: int = 1234) -> bytes:
    first = payload.token_event(payload.delay_text(delay_us))
    return payload.role_event() + first + b"".join(payload.token_events(tokens)) + payload.DONE


def test_a_rewritten_stream_is_decoded_and_compared() -> None:
    expected = Expected(4)
    spaced = stream_of(4).replace(b'":', b'": ')
    delay_us, texts = payload.read_stream(spaced)
    assert (delay_us, expected.wrong(texts)) == (1234, 0)
    assert expected.wrong(texts[:-1]) == 1
    assert expected.wrong(["".join(texts)]) == 0  # joined, and yet the same text
    with pytest.raises(ValueError, match="begin and end"):
        payload.read_stream(stream_of(4).replace(payload.DONE, b""))


def test_chunks_and_completion_have_the_sizes_of_real_ones() -> None:
    assert 200 <= len(payload.token_events(3)[0]) <= 260
    assert 700 <= len(payload.completion_body()) <= 900
