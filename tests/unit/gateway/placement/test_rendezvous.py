"""Rendezvous hashing: one order for everybody, by weight, of which a change moves only its share."""

from __future__ import annotations

from collections import Counter

import pytest

from gateway.placement.rendezvous import Heights, ranking, weighed

ENGINES = [f"engine-{number}" for number in range(8)]
ADAPTERS = [f"task-{number}@{number:08x}" for number in range(4000)]


def test_the_order_hangs_on_names_alone() -> None:
    order = ranking("concept@1a2b3c4d", ENGINES)
    assert sorted(order) == sorted(ENGINES)
    assert ranking("concept@1a2b3c4d", ENGINES[::-1]) == order
    assert order == [f"engine-{number}" for number in (0, 2, 7, 1, 4, 6, 3, 5)], (
        "another process sees another order"
    )


def test_engines_of_one_weight_are_first_alike_often() -> None:
    firsts = Counter(ranking(adapter, ENGINES)[0] for adapter in ADAPTERS)
    assert all(400 <= firsts[name] <= 600 for name in ENGINES), firsts


def test_second_choices_are_spread_too() -> None:
    pairs = Counter(tuple(ranking(adapter, ENGINES)[:2]) for adapter in ADAPTERS)
    assert len(pairs) == 56
    assert max(pairs.values()) <= 3 * min(pairs.values()), "the engine that goes would load one other"


@pytest.mark.parametrize("heavy", [2.0, 4.0])
def test_a_heavy_engine_is_first_in_proportion(heavy: float) -> None:
    weights = dict.fromkeys(ENGINES, 1.0) | {"engine-3": heavy}
    firsts = Counter(ranking(adapter, ENGINES, weights)[0] for adapter in ADAPTERS)
    assert firsts["engine-3"] == pytest.approx(len(ADAPTERS) * heavy / (7 + heavy), rel=0.12)


def test_an_engine_that_goes_moves_only_what_was_its_own() -> None:
    left = [name for name in ENGINES if name != "engine-5"]
    for adapter in ADAPTERS[:500]:
        before = ranking(adapter, ENGINES)
        assert ranking(adapter, left) == [name for name in before if name != "engine-5"]


def test_heights_are_given_in_the_rankings_order_one_by_one() -> None:
    for count in (1, 7, 300):  # more than a byte has values, so that some begin alike
        names = [f"engine-{number}" for number in range(count)]
        for adapter in map(str, range(20)):
            found = list(Heights(names).in_order(adapter))
            assert [name for _, name in found] == ranking(adapter, names)
            assert [height for height, _ in found] == sorted({height for height, _ in found}, reverse=True)
    assert list(Heights([]).in_order("a")) == []


def test_no_height_has_no_weight() -> None:
    assert weighed(0, 1.0) > 0
    assert weighed((1 << 64) - 1, 1.0) > weighed((1 << 64) - (1 << 20), 1.0)
    assert weighed((1 << 64) - 1, 0.0) == 0.0
