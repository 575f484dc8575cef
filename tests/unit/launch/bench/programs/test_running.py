"""Programs under test, apart from the load."""

from __future__ import annotations

from launch.bench.programs.running import choose_cores


def test_cores_are_apart_where_there_are_two() -> None:
    assert choose_cores([3, 1, 2]).apart
    assert not choose_cores([0]).apart
