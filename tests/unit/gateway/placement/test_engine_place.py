"""An engine as placement sees it: a value that can be compared and kept."""

from __future__ import annotations

from gateway.placement.engine_place import EnginePlace


def test_two_of_the_same_are_equal_and_hold_nothing_unless_told() -> None:
    assert EnginePlace("engine-0", 4) == EnginePlace("engine-0", 4, frozenset())
    assert len({EnginePlace("engine-0", 4), EnginePlace("engine-0", 4, frozenset("a"))}) == 2
