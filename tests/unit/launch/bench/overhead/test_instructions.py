"""Instructions, where perf can count them."""

from __future__ import annotations

from launch.bench.overhead import instructions


def test_perf_that_cannot_count_counts_nothing() -> None:
    assert instructions.count_of("123456,,instructions:u,1000,100.00,,") == 123456
    assert instructions.count_of("<not supported>,,instructions:u,0,100.00,,") is None
