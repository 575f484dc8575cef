"""One process's share of an account that several gateways have together: pure, without clock or network.

A request takes what it needs from the share and nobody is asked; what the share lacks is asked of Redis
(`share_exchange`). It may be in debt: after an answer that was longer than what was reserved for it, or after
a time without Redis, when the machine's own account book alone said who may go on.
"""

from __future__ import annotations

import math

import msgspec

from gateway.admission.quotas.share_script import Amounts, Ask, Given
from gateway.config.limit_settings import LimitConfig

AHEAD_S = 0.25
"""For so long a share that is used is filled ahead; one that is not used is given back."""
LEAST_AHEAD = 2.0
"""Requests that are taken ahead at the least; where fewer are used in that time, each is asked for."""
_SMOOTH = 0.3
NOTHING = Amounts()


def needed(limits: LimitConfig, wanted: float) -> Amounts:
    """What a request that may take so many tokens needs of an account."""
    budgets = [one for one in (limits.tokens_per_day, limits.tokens_per_month) if one is not None]
    return Amounts(
        1.0 if limits.requests_per_minute is not None else 0.0,
        min(wanted, limits.tokens_per_minute) if limits.tokens_per_minute is not None else 0.0,
        min(wanted, *budgets) if budgets else 0.0,
        1 if limits.max_in_flight is not None else 0,
    )


def together(parts: list[Amounts]) -> Amounts:
    return Amounts(
        sum(one.requests for one in parts),
        sum(one.tokens for one in parts),
        sum(one.budget for one in parts),
        sum(one.places for one in parts),
    )


class Share:
    """What is there to be used, and what is used of it."""

    __slots__ = (
        "_counted",
        "_day",
        "_month",
        "_of_month",
        "_places",
        "_rate",
        "_took",
        "budget",
        "known",
        "limits",
        "requests",
        "tokens",
        "used",
    )

    def __init__(self, limits: LimitConfig, counted: tuple[int, float, int, float]) -> None:
        """`counted`: day, its tokens, month, its tokens, as they are known before Redis says more."""
        self.limits = limits
        self._counted = counted
        self._day = self._month = 0
        self._of_month = 0.0
        """Of days of this month that are over: tokens that are left, less than 0 for more than were taken."""
        self.requests = self.tokens = self.budget = 0.0
        self._places = 0
        self.used = 0
        """Requests in flight."""
        self.known: Given | None = None
        """What Redis said last."""
        self._rate = Amounts()
        """Used in a second, lately."""
        self._took = Amounts()
        """Since the last `breathe`."""

    def holds(self, need: Amounts) -> bool:
        """Whether a request can go on without asking."""
        return (
            (not need.requests or self.requests >= need.requests)
            and (not need.tokens or self.tokens >= need.tokens)
            and (not need.budget or self.budget >= need.budget)
            and (not need.places or self._places - self.used >= need.places)
        )

    def take(self, need: Amounts) -> None:
        """A request goes on, whether the share holds it or not."""
        self.requests -= need.requests
        self.tokens -= need.tokens
        self.budget -= need.budget
        self.used += 1
        took = self._took
        took.requests += 1
        took.tokens += need.tokens
        took.budget += need.budget

    def begins(self, day: int, month: int) -> None:
        """It is that day: what is in the share, or was used beyond it, is of the day before."""
        if day == self._day:
            return
        self._of_month = self._of_month + self.budget if month == self._month else 0.0
        if self._day:
            self.budget = 0.0
        self._day, self._month = day, month

    def settle_late(self, budget: float) -> None:
        """A request of a day before has ended; to be called before its `settle`, which has no budget then."""
        self._of_month += budget

    def settle(self, tokens: float, budget: float, requests: int) -> None:
        """It has ended, and so much of what it took is left; less than 0 where it took more."""
        self.requests += requests
        self.tokens += tokens
        self.budget += budget
        self.used = max(0, self.used - 1)

    def breathe(self, seconds: float) -> None:
        """So long has passed since the last time: what is used in a second is known anew."""
        for name in ("requests", "tokens", "budget"):
            took = getattr(self._took, name) / seconds
            setattr(self._rate, name, (1 - _SMOOTH) * getattr(self._rate, name) + _SMOOTH * took)
        self._took = Amounts()

    def kept_places(self, members: int) -> int:
        """Places that are kept free for the next requests."""
        most = self.limits.max_in_flight
        return 0 if most is None else min(most // (8 * members), math.ceil(self._rate.requests * AHEAD_S))

    @property
    def quiet(self) -> bool:
        """Whether nothing is in it and nobody uses it."""
        return (
            not self.used
            and not self._places
            and not self._took.requests
            and self._rate.requests < 0.01
            and self.requests == self.tokens == self.budget == self._of_month == 0
        )

    def ask(self, account: str, members: int, waiting: list[Amounts]) -> Ask | None:
        """What is to be said to Redis now; None for nothing. What it gives back is gone from the share.

        Of those who wait the one who needs least is served first, so that who is refused then stands for all.
        """
        first = min(waiting, key=lambda one: (one.tokens, one.budget), default=NOTHING)
        rest = together(waiting)
        queued = Amounts(
            rest.requests - first.requests,
            rest.tokens - first.tokens,
            rest.budget - first.budget,
            rest.places - first.places,
        )
        ahead = self._ahead()
        back, more = Amounts(), Amounts()
        for name in ("requests", "tokens", "budget"):
            there, wanted = getattr(self, name), getattr(ahead, name)
            gone = _given_back(there, wanted, someone_waits=bool(waiting))
            setattr(back, name, gone)
            # Filled again when half is used, or each request would be worth an exchange.
            setattr(more, name, wanted if there - gone < wanted / 2 else 0.0)
        kept = self.kept_places(members)
        # Places are kept for who may come only while nobody waits for one.
        free = 0 if waiting else max(0, self._places - self.used)
        more.places = kept if free < kept / 2 else 0
        places = self.used + min(free, kept)
        if not waiting and back == more == NOTHING and places == self._places and not self._of_month:
            return None
        return self._asked(account, first, queued, more, back, places)

    def repeat(self, account: str) -> Ask | None:
        """What is in flight, said again: Redis may have lost it. None where nothing is."""
        if not self.used or self.limits.max_in_flight is None:
            return None
        places = max(self._places, self.used)
        return self._asked(account, NOTHING, NOTHING, NOTHING, Amounts(), places)

    def said_again(self, ask: Ask) -> Ask:
        """What may not have been heard: what it gave back, and what is in flight by now; it wants nothing."""
        back = msgspec.structs.replace(ask.back, places=max(self._places, self.used))
        self._places = back.places
        of_month = ask.of_month
        if ask.day != self._day:  # midnight has passed
            late, month = of_month
            of_month, back.budget = (late + back.budget, month), 0.0
        return msgspec.structs.replace(
            ask, back=back, of_month=of_month, day=self._day, need=NOTHING, queued=NOTHING, ahead=NOTHING
        )

    def forget(self) -> None:
        """Nobody uses it any more: the next `ask` gives all of it back."""
        self._rate = Amounts()
        self._took = Amounts()

    def _asked(
        self, account: str, need: Amounts, queued: Amounts, ahead: Amounts, back: Amounts, places: int
    ) -> Ask:
        limits = self.limits
        self.requests -= back.requests
        self.tokens -= back.tokens
        self.budget -= back.budget
        self._places = back.places = places
        bounds = (
            float(limits.requests_per_minute or 0),
            float(limits.tokens_per_minute or 0),
            float(limits.tokens_per_day or 0),
            float(limits.tokens_per_month or 0),
            limits.max_in_flight or 0,
        )
        of_month, self._of_month = (self._of_month, self._month), 0.0
        return Ask(account, bounds, back, need, queued, ahead, self._counted, of_month, self._day)

    def given(self, given: Given) -> None:
        """Take what Redis has answered into this gateway's share, and what all have counted by it."""
        self.requests += given.amounts.requests
        self.tokens += given.amounts.tokens
        self.budget += given.amounts.budget
        self._places += given.amounts.places
        self.known = given
        self._counted = (given.day, given.day_tokens, given.month, given.month_tokens)

    def _ahead(self) -> Amounts:
        """What is wanted in the share."""
        limits, rate = self.limits, self._rate
        if rate.requests * AHEAD_S < LEAST_AHEAD:
            return NOTHING
        return Amounts(
            float(math.floor(rate.requests * AHEAD_S)) if limits.requests_per_minute is not None else 0.0,
            rate.tokens * AHEAD_S if limits.tokens_per_minute is not None else 0.0,
            rate.budget * AHEAD_S,
        )


def _given_back(there: float, wanted: float, *, someone_waits: bool) -> float:
    """All of it where someone waits, who then gets it with what is missing; a debt is always told."""
    if there < 0 or someone_waits:
        return there
    return there - wanted if there > 2 * wanted else 0.0
