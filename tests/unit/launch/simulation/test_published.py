"""The published comparison, played again: its figures for what it measured, and ours beside them."""

from __future__ import annotations

import pytest

from launch.simulation.published import compare, most_asked


def test_the_scenario_is_the_published_one_and_the_plan_changes_less() -> None:
    chance, hashed, flow, flow_of_the_same, kept, fewest = compare(42)
    assert chance.changes == pytest.approx(35_658, rel=0.02), "published, at random"
    assert hashed.changes == pytest.approx(250, rel=0.15), "published, by rendezvous hashing"
    assert (kept.changes, kept.first_homes, kept.adapters) == (100, 100, 100)
    assert fewest.changes == 62, "published by min-cost flow: 98"
    assert fewest.adapters == 32
    assert (flow_of_the_same.changes, flow_of_the_same.adapters) == (62, 32), "no fewer moves will do"
    assert (flow.changes, flow.first_homes) == (42, 33), (
        "who came first stays, however little it is asked for"
    )
    assert flow.hits < fewest.hits
    assert min(kept.hits, fewest.hits) > hashed.hits > chance.hits


def test_one_that_is_kept_yields_only_to_one_that_is_asked_for_much_more() -> None:
    window = {"a": 10, "b": 39, "c": 41}
    assert most_asked(window, {"a"}, 2) == ["c", "a"]
    assert most_asked(window, set(), 2) == ["c", "b"]
