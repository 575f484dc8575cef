"""Streams under load: each answer held against what was expected."""

from __future__ import annotations

from launch.bench.overhead.stream_load import Expected
from tests.unit.launch.bench.overhead.test_payload import stream_of


def test_an_untouched_stream_is_known_byte_for_byte() -> None:
    expected = Expected(4)
    assert expected.delay_of(stream_of(4)) == 1234
    assert expected.delay_of(stream_of(3)) is None
    assert expected.delay_of(stream_of(4).replace(b"token002", b"token00X")) is None
