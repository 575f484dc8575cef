"""What a plan keeps to when nothing is said."""

from __future__ import annotations

from gateway.placement.rules import Rules


def test_a_replica_is_given_up_later_than_it_is_made_and_before_an_engine_is_full() -> None:
    rules = Rules()
    assert rules.spare_share < rules.fullest_share < rules.full_engine
