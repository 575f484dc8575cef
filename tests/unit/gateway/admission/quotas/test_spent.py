"""What is used of an account's limits."""

from __future__ import annotations

from gateway.admission.quotas.spent import spent
from gateway.config.limit_settings import LimitConfig


def test_each_bound_that_is_set_has_its_use() -> None:
    limits = LimitConfig.model_validate(
        dict(requests_per_minute=60, max_in_flight=4, tokens_per_day=100, tokens_per_month=1000)
    )
    row = (40.0, 1000.0, 0.0, 0.0, 5, 30.0, 2, 700.0)
    now = 1010.0  # ten more requests have come back since
    assert [tuple(one) for one in spent(limits, row, 3, now, 5, 2)] == [
        ("requests_per_minute", 60, 10),
        ("max_in_flight", 4, 3),
        ("tokens_per_day", 100, 30),
        ("tokens_per_month", 1000, 700),
    ]


def test_of_another_day_nothing_is_used_and_a_new_account_is_full() -> None:
    limits = LimitConfig.model_validate(dict(tokens_per_minute=50, tokens_per_day=100))
    row = (0.0, 0.0, 0.0, 0.0, 4, 30.0, 2, 700.0)
    assert [one.used for one in spent(limits, row, 0, 1000.0, 5, 2)] == [0, 0]
