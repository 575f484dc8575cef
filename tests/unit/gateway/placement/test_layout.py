"""Homes and the load on engines while a plan is made."""

from __future__ import annotations

import pytest

from gateway.placement.engine_place import EnginePlace
from gateway.placement.layout import Layout, Move


def layout() -> Layout:
    places = [EnginePlace("one", 2, frozenset({"a", "gone"})), EnginePlace("two", 2, frozenset({"a", "b"}))]
    return Layout({"a": 10.0, "b": 4.0}, places)


def test_an_adapters_traffic_is_shared_by_its_homes() -> None:
    found = layout()
    assert found.homes == {"a": ["one", "two"], "b": ["two"]}
    assert found.tokens_per_s == {"one": 5.0, "two": 9.0}
    assert (found.fullness("one"), found.fullness("two")) == (0.5, 1.0)


def test_a_move_changes_homes_and_load() -> None:
    found = layout()
    found.load("b", "one", "more")
    found.unload("a", "two", "less")
    assert found.homes == {"a": ["one"], "b": ["two", "one"]}
    assert found.tokens_per_s == pytest.approx({"one": 12.0, "two": 2.0})
    assert found.moves == (Move("a", "two", False, "less"), Move("b", "one", True, "more"))


def test_a_move_taken_back_is_none() -> None:
    found = layout()
    found.load("b", "one", "more")
    found.unload("b", "one", "less")
    assert found.moves == ()


def test_what_nobody_wants_is_unloaded_and_counts_for_nothing() -> None:
    found = layout()
    found.unwanted([EnginePlace("one", 2, frozenset({"a", "gone"}))], "not wanted")
    assert found.moves == (Move("gone", "one", False, "not wanted"),)
