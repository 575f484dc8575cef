"""A request as it begins."""

from __future__ import annotations

from launch.simulation.request import Request


def test_a_new_request_is_nowhere_and_has_no_times() -> None:
    one = Request(1.5, "a", 10, 20)
    assert (one.engine, one.first_s, one.end_s) == (-1, -1.0, -1.0)
