"""One account's row of the book with a request more in it, and with what that took put right: pure.

It is gone through for every request that anything bounds, so nothing is looked at twice, and nothing is said:
which bound has no room, and for how long, is `refusals`' to find out.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from gateway.admission.quotas.bucket import WINDOW_S, level_now
from gateway.admission.quotas.scopes import Scope

Row: TypeAlias = "tuple[float, float, float, float, float, float, float, float]"
"""As `AccountBook` keeps it."""
Entry: TypeAlias = "tuple[float, ...]"
"""A row, and behind it how many requests each process has in flight."""


class Holding(msgspec.Struct, frozen=True, gc=False):
    """Of one account, what a request holds."""

    scope: Scope
    minute_tokens: float
    budget_tokens: float
    day: int
    month: int
    at: float
    """When it began."""


def with_request(
    scope: Scope, entry: Entry, wanted: float, now: float, day: int, month: int
) -> tuple[Row, Holding] | None:
    """The row with a request of so many tokens in it; None where one of its bounds has no room for it.

    One that wants more than a whole minute, day or month allows takes all of it. `day` and `month` are now's.
    """
    level, at, tokens, tokens_at, of_day, day_tokens, of_month, month_tokens, *in_flight = entry
    most_requests, most_tokens, most_at_once, most_of_day, most_of_month = scope.bounds
    if most_at_once is not None and sum(in_flight) >= most_at_once:
        return None
    if most_requests is not None:
        level, at = level_now(level, at, now, most_requests) - 1, now
        if level < 0:
            return None
    minute_tokens = 0.0
    if most_tokens is not None:
        # Not `min`, here and below: a call for each bound of each account of every request (design 98).
        minute_tokens = wanted if wanted < most_tokens else most_tokens
        tokens, tokens_at = level_now(tokens, tokens_at, now, most_tokens) - minute_tokens, now
        if tokens < 0:
            return None
    budget = wanted
    if of_day != day:
        day_tokens = 0.0
    if most_of_day is not None:
        if budget > most_of_day:
            budget = most_of_day
        if day_tokens + (wanted if wanted < most_of_day else most_of_day) > most_of_day:
            return None
    if of_month != month:
        month_tokens = 0.0
    if most_of_month is not None:
        if budget > most_of_month:
            budget = most_of_month
        if month_tokens + (wanted if wanted < most_of_month else most_of_month) > most_of_month:
            return None
    # Days and months are counted without a bound too: one that is set later finds what was used before.
    after = (level, at, tokens, tokens_at, day, day_tokens + budget, month, month_tokens + budget)
    return after, Holding(scope, minute_tokens, budget, day, month, now)


def refilled(scope: Scope, row: Row, now: float) -> Row:
    """The row with what has come back of its minute by now."""
    level, at, tokens, tokens_at, *rest = row
    most_requests, most_tokens, *_ = scope.bounds
    if most_requests is not None:
        level, at = level_now(level, at, now, most_requests), now
    if most_tokens is not None:
        tokens, tokens_at = level_now(tokens, tokens_at, now, most_tokens), now
    day, day_tokens, month, month_tokens = rest
    return level, at, tokens, tokens_at, day, day_tokens, month, month_tokens


def settled(one: Holding, row: Row, used: float, requests: int) -> Row:
    """The row once `used` tokens were; `requests`: given back, since they never ran."""
    level, at, tokens, tokens_at, day, day_tokens, month, month_tokens = row
    bounds = one.scope.bounds
    if requests and bounds.requests_per_minute is not None:
        level = min(bounds.requests_per_minute, level + requests)
    if bounds.tokens_per_minute is not None:
        # It may be over the bound, which `level_now` cuts off when it is read.
        tokens += one.minute_tokens - used
    more = used - one.budget_tokens
    if day == one.day:
        day_tokens = day_tokens + more if day_tokens > -more else 0.0
    if month == one.month:
        month_tokens = month_tokens + more if month_tokens > -more else 0.0
    return level, at, tokens, tokens_at, day, day_tokens, month, month_tokens


def is_as_new(entry: Entry, now: float, month: int) -> bool:
    """Whether nothing in it counts any more: none in flight, its minute full, its month (and day) past."""
    _, at, _, tokens_at, _, _, of_month, _, *in_flight = entry
    full = all(abs(now - then) > WINDOW_S for then in (at, tokens_at) if then)
    return full and of_month != month and not any(in_flight)
