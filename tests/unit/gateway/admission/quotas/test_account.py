"""A request in an account's row, and out of it again: held against sums done by hand."""

from __future__ import annotations

import random

import pytest

from gateway.admission.quotas.account import Entry, Row, is_as_new, settled, with_request
from gateway.admission.quotas.periods import day_of, month_of
from gateway.admission.quotas.refusals import refusal
from gateway.admission.quotas.scopes import Scope
from gateway.config.limit_settings import LimitConfig

NOW = 1_796_040_000.0
"""Noon of 30 November 2026, in UTC."""
DAY, MONTH = day_of(NOW), month_of(NOW)
NEW: Row = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


def scope(**limits: int) -> Scope:
    return Scope("key:ci", "the key 'ci'", LimitConfig.model_validate(limits))


ALL = scope(requests_per_minute=3, tokens_per_minute=100, tokens_per_day=150, tokens_per_month=1000)


def test_a_request_is_taken_of_every_bound_and_put_right_by_what_it_used() -> None:
    found = with_request(ALL, NEW, 60, NOW, DAY, MONTH)
    assert found is not None
    row, taken = found
    assert row == (2, NOW, 40, NOW, DAY, 60, MONTH, 60)
    assert settled(taken, row, 25, 0) == (2, NOW, 75, NOW, DAY, 25, MONTH, 25)
    assert settled(taken, row, 0, 1) == (3, NOW, 100, NOW, DAY, 0, MONTH, 0), "it never ran"


@pytest.mark.parametrize(
    ("row", "wanted", "fits"),
    [
        ((1.0, NOW, 100.0, NOW, DAY, 0.0, MONTH, 0.0), 10, True),
        ((0.99, NOW, 100.0, NOW, DAY, 0.0, MONTH, 0.0), 10, False),
        ((0.0, NOW - 20, 100.0, NOW, DAY, 0.0, MONTH, 0.0), 10, True),
        ((3.0, NOW, 9.0, NOW, DAY, 0.0, MONTH, 0.0), 10, False),
        ((3.0, NOW, 9.0, NOW - 1, DAY, 0.0, MONTH, 0.0), 10, True),
        ((3.0, NOW, 100.0, NOW, DAY, 140.0, MONTH, 140.0), 10, True),
        ((3.0, NOW, 100.0, NOW, DAY, 141.0, MONTH, 141.0), 10, False),
        ((3.0, NOW, 100.0, NOW, DAY - 1, 141.0, MONTH, 141.0), 10, True),
        ((3.0, NOW, 100.0, NOW, DAY, 0.0, MONTH, 991.0), 10, False),
        ((3.0, NOW, 100.0, NOW, DAY, 0.0, MONTH - 1, 991.0), 10, True),
        ((3.0, NOW, 100.0, NOW, DAY, 0.0, MONTH, 0.0), 5000, True),
    ],
)
def test_each_bound_has_room_or_not(row: Row, wanted: int, fits: bool) -> None:
    assert (with_request(ALL, row, wanted, NOW, DAY, MONTH) is not None) == fits


def test_requests_at_once_are_those_of_all_processes() -> None:
    bounded = scope(max_in_flight=3)
    assert with_request(bounded, (*NEW, 1, 0, 1), 10, NOW, DAY, MONTH) is not None
    assert with_request(bounded, (*NEW, 1, 0, 2), 10, NOW, DAY, MONTH) is None
    assert with_request(ALL, (*NEW, 1, 0, 2), 10, NOW, DAY, MONTH) is not None, "nothing bounds them there"


def test_what_has_no_room_is_what_is_refused() -> None:
    """Both say the same of any row: what every request goes through, and what tells why."""
    chance = random.Random(4)
    fitted = 0
    for _ in range(3000):
        levels = (chance.uniform(-1, 3), NOW - chance.choice((0, 1, 19, 300)), chance.uniform(-40, 100))
        day, month = DAY - chance.choice((0, 0, 1)), MONTH - chance.choice((0, 0, 1))
        at = NOW - chance.choice((0, 1, 19, 300))
        row = (*levels, at, day, chance.uniform(0, 200), month, chance.uniform(0, 1100))
        wanted = chance.choice((0, 1, 50, 100, 149, 5000))
        fits = with_request(ALL, row, wanted, NOW, DAY, MONTH) is not None
        assert fits == (refusal(ALL, row, 0, wanted, NOW, lambda _: 1.0) is None)
        fitted += fits
    assert 300 < fitted < 2700


def test_what_is_not_bounded_stays_as_it_was() -> None:
    found = with_request(scope(tokens_per_month=10), NEW, 4, NOW, DAY, MONTH)
    assert found is not None
    row, taken = found
    assert row[:4] == NEW[:4]
    assert settled(taken, row, 3, 0)[:4] == NEW[:4]


def test_a_reservation_of_another_day_is_put_right_in_its_month_alone() -> None:
    found = with_request(ALL, NEW, 60, NOW, DAY, MONTH)
    assert found is not None
    tomorrow: Row = (3.0, NOW, 0.0, NOW, DAY + 1, 30.0, MONTH, 90.0)
    assert settled(found[1], tomorrow, 10, 0)[4:] == (DAY + 1, 30, MONTH, 40)


@pytest.mark.parametrize(
    ("entry", "as_new"),
    [
        ((0.0,) * 8, True),
        ((1.0, 900.0, 1.0, 900.0, 5.0, 3.0, 7.0, 3.0, 0, 0), True),
        ((1.0, 999.0, 1.0, 900.0, 5.0, 3.0, 7.0, 3.0, 0, 0), False),
        ((1.0, 900.0, 1.0, 999.0, 5.0, 3.0, 7.0, 3.0, 0, 0), False),
        ((1.0, 900.0, 1.0, 900.0, 5.0, 3.0, 8.0, 3.0, 0, 0), False),
        ((1.0, 900.0, 1.0, 900.0, 5.0, 3.0, 7.0, 3.0, 0, 1), False),
        ((1.0, 5000.0, 1.0, 5000.0, 5.0, 3.0, 9.0, 3.0, 0, 0), True),
    ],
    ids=[
        "never used",
        "past",
        "requests' minute",
        "tokens' minute",
        "this month",
        "in flight",
        "clock set back",
    ],
)
def test_what_counts_no_more(entry: Entry, as_new: bool) -> None:
    assert is_as_new(entry, 1000.0, 8) is as_new
