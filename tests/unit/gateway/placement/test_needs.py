"""How many replicas: as many as the traffic asks for, as the slots allow, and no back and forth."""

from __future__ import annotations

from gateway.placement.needs import Need, needs
from gateway.placement.rules import Rules

RULES = Rules(engine_tokens_per_s=100, fullest_share=0.5, spare_share=0.25)


def test_cold_adapters_have_the_least_and_hot_ones_what_they_need() -> None:
    found = needs({"cold": 0, "warm": 50, "hot": 51, "hotter": 160}, {}, engines=8, slots=32, rules=RULES)
    assert {name: one.least for name, one in found.items()} == {"cold": 1, "warm": 1, "hot": 2, "hotter": 4}


def test_nothing_needs_more_replicas_than_there_are_engines() -> None:
    assert needs({"hot": 10_000}, {}, engines=3, slots=12, rules=RULES)["hot"] == Need(3, 3)
    assert needs({"any": 0}, {}, engines=1, slots=4, rules=Rules(min_replicas=2))["any"] == Need(1, 1)


def test_a_replica_is_kept_until_the_others_have_room_to_spare() -> None:
    def most(tokens_per_s: float) -> int:
        return needs({"a": tokens_per_s}, {"a": 3}, engines=8, slots=32, rules=RULES)["a"].most

    assert most(60) == 3  # two would each have 30 of 100, which is more than a quarter
    assert most(50) == 3
    assert most(49) == 2


def test_scarce_slots_go_where_they_help_most() -> None:
    found = needs({"a": 400, "b": 200, "c": 0}, {}, engines=8, slots=8, rules=RULES)
    assert {name: one.least for name, one in found.items()} == {"a": 5, "b": 2, "c": 1}


def test_scarce_slots_stay_where_they_are_when_traffic_is_nearly_the_same() -> None:
    for demand in ({"a": 200.0, "b": 210.0}, {"a": 210.0, "b": 200.0}):
        found = needs(demand, {"a": 3, "b": 2}, engines=5, slots=5, rules=RULES)
        assert (found["a"].least, found["b"].least) == (3, 2)


def test_what_may_be_kept_yields_to_what_is_needed() -> None:
    found = needs({"a": 60, "b": 200}, {"a": 3}, engines=6, slots=6, rules=RULES)
    assert found == {"a": Need(2, 2), "b": Need(4, 4)}


def test_with_more_adapters_than_slots_everyone_gets_what_it_needs() -> None:
    demand = {f"cold-{number}": 0.0 for number in range(10)} | {"hot": 100.0}
    found = needs(demand, {}, engines=2, slots=4, rules=RULES)
    assert found["hot"].least == 2
    assert found["cold-0"] == Need(1, 1)
