"""Residency first, then the wait; a load only where it is the shorter wait; a prefix' home within bounds."""

from __future__ import annotations

import random
from collections import Counter

import msgspec
import pytest

from gateway.placement.choice import LOAD_S, Candidate, choose, wait_s

DRAW = random.Random(7)


def one(name: str, in_flight: int = 0, **fields: object) -> Candidate:
    plain = Candidate(name, True, in_flight, in_flight * 100.0, 1000.0, 8)
    return msgspec.structs.replace(plain, **fields)


def chosen(*candidates: Candidate, times: int = 200) -> Counter[str]:
    return Counter(choose(candidates, DRAW).name for _ in range(times))


def test_the_only_one_is_taken_however_full_it_is() -> None:
    assert choose([one("a", 99)], DRAW).name == "a"


def test_a_resident_one_goes_before_one_that_is_idle() -> None:
    assert chosen(one("a", 7), one("b", 0, resident=False)) == {"a": 200}


@pytest.mark.parametrize(
    ("in_flight", "expected"),
    [(8, "a"), (12, "a"), (40, "b")],
    ids=["a seat comes free soon", "as long as a load", "longer than a load"],
)
def test_a_load_is_paid_only_where_the_wait_is_longer(in_flight: int, expected: str) -> None:
    assert chosen(one("a", in_flight), one("b", 0, resident=False)) == {expected: 200}


def test_no_load_is_paid_for_a_replica_that_is_as_full() -> None:
    assert chosen(one("a", 40), one("b", 38, resident=False)) == {"a": 200}


def test_equals_are_taken_by_chance() -> None:
    taken = chosen(*(one(name, 3) for name in "abcd"), times=4000)
    assert min(taken.values()) > 800


def test_the_least_full_for_what_it_takes_is_taken() -> None:
    assert chosen(one("a", 4), one("b", 5, limit=16, queued_tokens=400.0)) == {"b": 200}


def test_few_long_requests_fill_a_replica_as_many_short_ones_do() -> None:
    assert chosen(one("a", 2, queued_tokens=9000.0), one("b", 3, queued_tokens=300.0)) == {"b": 200}


def test_a_faster_replica_that_is_full_waits_less() -> None:
    slow, fast = one("slow", 12, tokens_per_s=100.0), one("fast", 14, tokens_per_s=1000.0)
    assert wait_s(fast) < wait_s(slow)
    assert chosen(slow, fast) == {"fast": 200}


def test_a_full_replica_of_unknown_speed_waits_too() -> None:
    assert wait_s(one("a", 7, tokens_per_s=0.0)) == 0.0
    assert 0.0 < wait_s(one("a", 8, tokens_per_s=0.0)) < wait_s(one("a", 16, tokens_per_s=0.0))


def test_a_prefix_is_at_home_until_its_home_is_fuller_than_the_others() -> None:
    others = [one("b", 4), one("c", 4)]
    assert chosen(one("a", 4, prefix_home=True), *others) == {"a": 200}
    assert chosen(one("a", 7, prefix_home=True), *others)["a"] == 0
    assert chosen(one("a", 8, prefix_home=True), one("b", 8), one("c", 7)) == {"c": 200}  # it has no seat


def test_a_prefix_home_without_the_adapter_is_no_reason_for_a_load() -> None:
    assert chosen(one("a", 0, resident=False, prefix_home=True), one("b", 6)) == {"b": 200}


def test_where_nobody_has_it_the_home_is_taken() -> None:
    """So several gateways load an adapter that is nowhere at the same place."""
    cold = [one(name, 0, resident=False, prefix_home=name == "b") for name in "abc"]
    assert chosen(*cold) == {"b": 200}


def test_many_are_spread_evenly() -> None:
    load = Counter[str]()
    names = [str(number) for number in range(64)]
    for _ in range(6400):
        load[choose([one(name, load[name], limit=1000) for name in names], DRAW).name] += 1
    assert max(load.values()) - min(load.values()) <= 4
    assert sum(load.values()) == 6400


def test_an_adapter_spreads_no_further_than_its_requests_need() -> None:
    """Forty at once, eight to a seat: each new one finds a seat where it is resident or pays one load."""
    resident, load, loads = {"0"}, Counter[str](), 0
    for _ in range(40):
        candidates = [one(str(n), load[str(n)], resident=str(n) in resident) for n in range(16)]
        name = choose(candidates, DRAW, load_s=LOAD_S).name
        loads += name not in resident
        resident.add(name)
        load[name] += 1
    assert loads <= 4
