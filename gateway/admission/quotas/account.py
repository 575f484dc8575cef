"""One account's row of the book with a request more in it, and with what that took put right: pure.

It is gone through for every request that anything bounds, so nothing is looked at twice, and nothing is said:
which bound has no room, and for how long, is `refusals`' to find out.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from gateway.admission.quotas.bucket import level_now
from gateway.admission.quotas.scopes import Scope

Row: TypeAlias = "tuple[float, float, float, float, float, float, float, float]"
"""As `AccountBook` keeps it."""


class Holding(NamedTuple):
    """Of one account, what a request holds."""

    scope: Scope
    minute_tokens: float
    budget_tokens: float
    day: int
    month: int
    at: float
    """When it began."""


def with_request(
    scope: Scope, row: Row, wanted: float, now: float, day: int, month: int
) -> tuple[Row, Holding] | None:
    """The row with a request of so many tokens in it; None where a rate or a budget has no room for it.

    One that wants more than a whole minute, day or month allows takes all of it. `day` and `month` are now's.
    Requests at once are not in the row.
    """
    level, at, tokens, tokens_at, of_day, day_tokens, of_month, month_tokens = row
    limits = scope.limits
    bound = limits.requests_per_minute
    if bound is not None:
        level, at = level_now(level, at, now, bound) - 1, now
        if level < 0:
            return None
    minute_tokens = 0.0
    bound = limits.tokens_per_minute
    if bound is not None:
        minute_tokens = wanted if wanted < bound else bound
        tokens, tokens_at = level_now(tokens, tokens_at, now, bound) - minute_tokens, now
        if tokens < 0:
            return None
    if of_day != day:
        day_tokens = 0.0
    if of_month != month:
        month_tokens = 0.0
    budget = wanted
    for bound, used in ((limits.tokens_per_day, day_tokens), (limits.tokens_per_month, month_tokens)):
        if bound is not None:
            most = wanted if wanted < bound else bound
            if used + most > bound:
                return None
            if most < budget:
                budget = most
    after = (level, at, tokens, tokens_at, day, day_tokens + budget, month, month_tokens + budget)
    return after, Holding(scope, minute_tokens, budget, day, month, now)


def settled(one: Holding, row: Row, used: float, requests: int) -> Row:
    """The row once `used` tokens were; `requests`: given back, since they never ran."""
    level, at, tokens, tokens_at, day, day_tokens, month, month_tokens = row
    limits = one.scope.limits
    if requests and limits.requests_per_minute is not None:
        level = min(limits.requests_per_minute, level + requests)
    if limits.tokens_per_minute is not None:
        tokens += one.minute_tokens - used
    more = used - one.budget_tokens
    if day == one.day:
        day_tokens = max(0.0, day_tokens + more)
    if month == one.month:
        month_tokens = max(0.0, month_tokens + more)
    return level, at, tokens, tokens_at, day, day_tokens, month, month_tokens
