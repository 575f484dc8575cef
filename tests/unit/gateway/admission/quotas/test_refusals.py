"""Which of an account's limits a request is told of."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from gateway.admission.quotas.periods import day_of, month_of
from gateway.admission.quotas.refusals import TooMany, refusal
from gateway.admission.quotas.scopes import Scope
from gateway.config.limit_settings import LimitConfig

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC).timestamp()


def judged(
    requests: float = 9.0,
    tokens: float = 9.0,
    in_flight: int = 0,
    day: float = 0.0,
    wanted: float = 1,
    **limits: Any,
) -> TooMany | None:
    scope = Scope("key:ci", "the key 'ci'", LimitConfig(**limits))
    row = (requests, NOON, tokens, NOON, day_of(NOON), day, month_of(NOON), day)
    return refusal(scope, row, in_flight, wanted, NOON, lambda at_once: 7.0 / at_once)


def test_what_has_room_is_not_refused() -> None:
    bounds = {"requests_per_minute": 10, "tokens_per_minute": 10, "max_in_flight": 1, "tokens_per_day": 5}
    assert judged(**bounds) is None


def test_the_longest_wait_is_told() -> None:
    found = judged(requests=0.0, requests_per_minute=6, in_flight=1, max_in_flight=1)
    assert found is not None
    assert (found.code, found.retry_after_s) == ("requests_per_minute", 10)
    found = judged(day=5.0, requests=0.0, tokens_per_day=5, requests_per_minute=6)
    assert found is not None
    assert (found.code, found.retry_after_s) == ("tokens_per_day", 12 * 3600)


def test_a_place_is_free_when_the_next_one_ends() -> None:
    found = judged(in_flight=7, max_in_flight=7)
    assert found is not None
    assert found.retry_after_s == 1
    assert found.message == "The key 'ci' may have 7 requests at once; try again in 1 s."


def test_more_than_a_bucket_holds_waits_for_a_full_one() -> None:
    assert judged(tokens=10.0, wanted=1000, tokens_per_minute=10) is None
