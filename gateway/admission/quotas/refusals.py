"""What a limit says to a request that it does not let through: which one, and for how long."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from gateway.admission.quotas.bucket import level_now, seconds_until
from gateway.admission.quotas.periods import day_end, day_of, month_end, month_of
from gateway.admission.quotas.scopes import Scope
from gateway.errors import RequestError


class TooMany(RequestError):
    """A limit is reached; `wait_s` until there is room again, as far as that is known.

    It is no `TooManyRequests`: that says that the engine is full, where a task's fallback may answer.
    """

    status = 429
    kind = "rate_limit_error"

    def __init__(self, message: str, code: str, wait_s: float, scope: Scope) -> None:
        super().__init__(message, code=code, retry_after_s=max(1, math.ceil(wait_s)))
        self.wait_s = wait_s
        self.scope = scope

    @property
    def may_wait(self) -> bool:
        """Whether whoever meets the limit waits for room instead of being refused."""
        return self.scope.limits.on_limit == "wait"


def refusal(
    scope: Scope,
    row: Sequence[float],
    in_flight: int,
    wanted: float,
    now: float,
    next_end_s: Callable[[int], float],
) -> TooMany | None:
    """Of an account's bounds, the one that a request of `wanted` tokens waits longest for; None for none.

    `row` is as `AccountBook.read` gives it; `next_end_s`: until one of so many that run ends.
    """
    limits, said = scope.limits, scope.said
    level, at, tokens, tokens_at, day, day_tokens, month, month_tokens = row
    found: list[TooMany] = []
    if limits.requests_per_minute is not None:
        bound = limits.requests_per_minute
        wait_s = seconds_until(level_now(level, at, now, bound), 1, bound)
        if wait_s > 0:
            text = f"{said} may send {bound:,} requests a minute"
            found.append(too_many(text, "requests_per_minute", wait_s, scope))
    if limits.tokens_per_minute is not None:
        bound = limits.tokens_per_minute
        wait_s = seconds_until(level_now(tokens, tokens_at, now, bound), min(wanted, bound), bound)
        if wait_s > 0:
            text = f"{said} may use {bound:,} tokens a minute, and this may take {wanted:,.0f}"
            found.append(too_many(text, "tokens_per_minute", wait_s, scope))
    if limits.max_in_flight is not None and in_flight >= limits.max_in_flight:
        text = f"{said} may have {limits.max_in_flight:,} requests at once"
        found.append(too_many(text, "max_in_flight", next_end_s(limits.max_in_flight), scope))
    day_used = day_tokens if day == day_of(now) else 0.0
    month_used = month_tokens if month == month_of(now) else 0.0
    for budget, used, name, end in (
        (limits.tokens_per_day, day_used, "day", day_end),
        (limits.tokens_per_month, month_used, "month", month_end),
    ):
        if budget is not None and used + min(wanted, budget) > budget:
            text = f"{said} may use {budget:,} tokens a {name}, {used:,.0f} are used or reserved"
            found.append(too_many(text, f"tokens_per_{name}", end(now) - now, scope))
    return max(found, key=lambda one: one.wait_s, default=None)


def too_many(text: str, code: str, wait_s: float, scope: Scope) -> TooMany:
    """`text` and how long it lasts."""
    said = text[0].upper() + text[1:]
    return TooMany(f"{said}; try again in {max(1, math.ceil(wait_s)):,} s.", code, wait_s, scope)
