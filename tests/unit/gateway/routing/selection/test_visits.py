"""What is at one replica, while it is there."""

from __future__ import annotations

from gateway.routing.selection.visits import Visits


def test_a_visit_counts_until_its_end() -> None:
    visits = Visits()
    first, second = visits.begin("a@1", 100), visits.begin("a@1", 20)
    visits.begin("b@1", 3)
    assert (visits.count, visits.tokens, visits.by_adapter) == (3, 123, {"a@1": 2, "b@1": 1})
    first.end()
    second.end()
    visits.tidy()
    assert (visits.count, visits.tokens, visits.by_adapter) == (1, 3, {"b@1": 1})
