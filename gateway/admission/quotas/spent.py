"""What is used of an account's limits now: pure, on a row of the account book."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from gateway.admission.quotas.bucket import level_now
from gateway.config.limit_settings import LimitConfig


class Spent(NamedTuple):
    """One bound, and what is used of it."""

    bound: str
    """As the configuration calls it."""
    most: int
    used: int


def spent(
    limits: LimitConfig, row: Sequence[float], in_flight: int, now: float, day: int, month: int
) -> list[Spent]:
    """Of each bound that is set; `row` is `AccountBook.read`'s, `day` and `month` are now's."""
    level, at, tokens, tokens_at, of_day, day_tokens, of_month, month_tokens = row
    found: list[tuple[str, int | None, float]] = []
    for name, bound, left, since in (
        ("requests_per_minute", limits.requests_per_minute, level, at),
        ("tokens_per_minute", limits.tokens_per_minute, tokens, tokens_at),
    ):
        found.append((name, bound, bound - level_now(left, since, now, bound) if bound else 0.0))
    found += [
        ("max_in_flight", limits.max_in_flight, in_flight),
        ("tokens_per_day", limits.tokens_per_day, day_tokens if of_day == day else 0.0),
        ("tokens_per_month", limits.tokens_per_month, month_tokens if of_month == month else 0.0),
    ]
    return [
        Spent(name, bound, max(0, math.ceil(used - 1e-6))) for name, bound, used in found if bound is not None
    ]
