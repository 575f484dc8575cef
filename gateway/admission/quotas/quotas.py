"""May this request go on, and what does it take: reserved before it runs, settled by what it used."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from gateway.admission.quotas.account_book import AccountBook
from gateway.admission.quotas.bucket import level_now, seconds_until
from gateway.admission.quotas.scopes import Scope, Scopes
from gateway.config.document import Config
from gateway.errors import RateLimited

HeaderList = list[tuple[bytes, bytes]]

ANSWER_TOKENS = 1024
"""Reserved for an answer whose length the request does not bound; what it really took is settled."""
BYTES_PER_TOKEN = 4
"""Of a prompt, to reserve by; English text has some four characters a token."""
IN_FLIGHT_RETRY_S = 1.0
"""Nobody knows when a running request ends."""


@dataclass(frozen=True, slots=True)
class _Taken:
    """Of one account, what a request holds."""

    scope: Scope
    minute_tokens: float
    budget_tokens: float
    day: int
    month: int


class TooMany(RateLimited):
    """A limit is reached; `wait_s` until there is room again, as far as that is known."""

    def __init__(self, message: str, code: str, wait_s: float, scope: Scope) -> None:
        super().__init__(message, code=code, retry_after_s=max(1, math.ceil(wait_s)))
        self.wait_s = wait_s
        self.scope = scope


class Reservation:
    """What one request holds until it is settled, once; a second time does nothing."""

    __slots__ = ("_quotas", "_taken", "headers", "prompt_tokens")

    def __init__(
        self, quotas: Quotas, taken: Sequence[_Taken], headers: HeaderList, prompt_tokens: int
    ) -> None:
        self._quotas = quotas
        self._taken: Sequence[_Taken] | None = taken
        self.headers = headers
        """OpenAI's `x-ratelimit-…`, as they stand after this request."""
        self.prompt_tokens = prompt_tokens
        """As they were guessed."""

    def settle(self, tokens: int) -> None:
        """It has ended, and took so many, prompt and answer together."""
        taken, self._taken = self._taken, None
        if taken is not None:
            self._quotas.settle(taken, tokens)

    def give_back(self) -> None:
        """It never ran."""
        taken, self._taken = self._taken, None
        if taken is not None:
            self._quotas.settle(taken, 0, requests=1)


class Quotas:
    """Every account of a gateway; used in the event loop's thread alone."""

    def __init__(
        self, config: Config, book: AccountBook | None = None, now: Callable[[], float] = time.time
    ) -> None:
        """`book` is None where nothing has a limit at the start: one is opened when something has."""
        self._scopes = Scopes(config)
        self._book = book
        self._now = now

    def configure(self, config: Config) -> None:
        """Other limits from now on; what was used stays."""
        self._scopes = Scopes(config)

    def reserve(
        self, key: str, model: str, prompt_bytes: int, answer_tokens: int | None
    ) -> Reservation | None:
        """Take a request and its tokens from every account; None where nothing bounds it.

        Raises TooMany (429), which names the account that makes it wait longest; then nothing is taken.
        """
        scopes = self._scopes.of(key, model)
        if not scopes or self._book is None:
            return None
        prompt_tokens = prompt_bytes // BYTES_PER_TOKEN
        wanted = prompt_tokens + (ANSWER_TOKENS if answer_tokens is None else answer_tokens)
        now = self._now()
        with self._book.locked():
            refusals = [found for scope in scopes if (found := self._refusal(scope, wanted, now))]
            if refusals:
                raise max(refusals, key=lambda one: one.wait_s)
            taken = [self._take(scope, wanted, now) for scope in scopes]
            headers = self._headers(scopes, now)
        return Reservation(self, taken, headers, prompt_tokens)

    def settle(self, taken: Sequence[_Taken], tokens: int, requests: int = 0) -> None:
        """Put right what was reserved: `tokens` were used, and `requests` are given back."""
        assert self._book is not None
        with self._book.locked():
            for one in taken:
                self._settle(one, tokens, requests)

    def _refusal(self, scope: Scope, wanted: float, now: float) -> TooMany | None:
        assert self._book is not None
        limits, said = scope.limits, scope.said
        level, at, tokens, tokens_at, day, day_tokens, month, month_tokens = self._book.read(scope.account)
        found: list[TooMany] = []
        if limits.requests_per_minute is not None:
            bound = limits.requests_per_minute
            wait_s = seconds_until(level_now(level, at, now, bound), 1, bound)
            if wait_s > 0:
                text = f"{said} may send {bound:,} requests a minute"
                found.append(_too_many(text, "requests_per_minute", wait_s, scope))
        if limits.tokens_per_minute is not None:
            bound = limits.tokens_per_minute
            wait_s = seconds_until(level_now(tokens, tokens_at, now, bound), min(wanted, bound), bound)
            if wait_s > 0:
                text = f"{said} may use {bound:,} tokens a minute, and this may take {wanted:,.0f}"
                found.append(_too_many(text, "tokens_per_minute", wait_s, scope))
        if limits.max_in_flight is not None and self._book.in_flight(scope.account) >= limits.max_in_flight:
            text = f"{said} may have {limits.max_in_flight:,} requests at once"
            found.append(_too_many(text, "max_in_flight", IN_FLIGHT_RETRY_S, scope))
        for bound_, used, name, ends_at in (
            (limits.tokens_per_day, day_tokens if day == _day(now) else 0.0, "day", _day_end(now)),
            (
                limits.tokens_per_month,
                month_tokens if month == _month(now) else 0.0,
                "month",
                _month_end(now),
            ),
        ):
            if bound_ is not None and used + min(wanted, bound_) > bound_:
                text = f"{said} may use {bound_:,} tokens a {name}, {used:,.0f} are used or reserved"
                found.append(_too_many(text, f"tokens_per_{name}", ends_at - now, scope))
        return max(found, key=lambda one: one.wait_s, default=None)

    def _take(self, scope: Scope, wanted: float, now: float) -> _Taken:
        assert self._book is not None
        limits = scope.limits
        level, at, tokens, tokens_at, day, day_tokens, month, month_tokens = self._book.read(scope.account)
        minute_tokens = 0.0
        if limits.requests_per_minute is not None:
            level, at = level_now(level, at, now, limits.requests_per_minute) - 1, now
        if limits.tokens_per_minute is not None:
            minute_tokens = min(wanted, limits.tokens_per_minute)
            tokens = level_now(tokens, tokens_at, now, limits.tokens_per_minute) - minute_tokens
            tokens_at = now
        budget = min([wanted, *filter(None, (limits.tokens_per_day, limits.tokens_per_month))])
        day_tokens = (day_tokens if day == _day(now) else 0.0) + budget
        month_tokens = (month_tokens if month == _month(now) else 0.0) + budget
        fields = (level, at, tokens, tokens_at, _day(now), day_tokens, _month(now), month_tokens)
        self._book.write(scope.account, fields)
        self._book.add_in_flight(scope.account, 1)
        return _Taken(scope, minute_tokens, budget, _day(now), _month(now))

    def _settle(self, one: _Taken, used: float, requests: int) -> None:
        assert self._book is not None
        level, at, tokens, tokens_at, day, day_tokens, month, month_tokens = self._book.read(
            one.scope.account
        )
        limits = one.scope.limits
        if requests and limits.requests_per_minute is not None:
            level = min(limits.requests_per_minute, level + requests)
        if limits.tokens_per_minute is not None:
            tokens += one.minute_tokens - used
        if day == one.day:
            day_tokens = max(0.0, day_tokens + used - one.budget_tokens)
        if month == one.month:
            month_tokens = max(0.0, month_tokens + used - one.budget_tokens)
        fields = (level, at, tokens, tokens_at, day, day_tokens, month, month_tokens)
        self._book.write(one.scope.account, fields)
        self._book.add_in_flight(one.scope.account, -1)

    def _headers(self, scopes: Sequence[Scope], now: float) -> HeaderList:
        """Of the narrowest account that bounds requests, and of that which bounds tokens."""
        assert self._book is not None
        headers: HeaderList = []
        for what, bounds in (
            (b"requests", [(one, one.limits.requests_per_minute) for one in scopes]),
            (b"tokens", [(one, one.limits.tokens_per_minute) for one in scopes]),
        ):
            scope, bound = next(((one, limit) for one, limit in bounds if limit), (None, None))
            if scope is None or bound is None:
                continue
            level, at, tokens, tokens_at, *_ = self._book.read(scope.account)
            left = (
                level_now(level, at, now, bound)
                if what == b"requests"
                else level_now(tokens, tokens_at, now, bound)
            )
            headers += [
                (b"x-ratelimit-limit-" + what, b"%d" % bound),
                (b"x-ratelimit-remaining-" + what, b"%d" % max(0, math.floor(left))),
                (b"x-ratelimit-reset-" + what, _duration(seconds_until(left, bound, bound))),
            ]
        return headers


def _too_many(text: str, code: str, wait_s: float, scope: Scope) -> TooMany:
    said = text[0].upper() + text[1:]
    return TooMany(f"{said}; try again in {max(1, math.ceil(wait_s)):,} s.", code, wait_s, scope)


def _duration(seconds: float) -> bytes:
    """As OpenAI writes it: `850ms`, `7s`, `6m0s`."""
    if seconds < 1:
        return b"%dms" % math.ceil(seconds * 1000)
    whole = math.ceil(seconds)
    return b"%ds" % whole if whole < 60 else b"%dm%ds" % divmod(whole, 60)


def _day(now: float) -> int:
    return int(now // 86400)


def _day_end(now: float) -> float:
    return (_day(now) + 1) * 86400.0


def _month(now: float) -> int:
    at = datetime.fromtimestamp(now, UTC)
    return at.year * 12 + at.month - 1


def _month_end(now: float) -> float:
    year, month = divmod(_month(now) + 1, 12)
    return datetime(year, month + 1, 1, tzinfo=UTC).timestamp()
