"""Takes shares of limits from Redis and gives them back, for one process: in the background where it can be.

A request that its share holds asks nobody. One that it does not hold waits for the next exchange, together
with all others that wait; never longer than `timeout_ms`. While Redis is away, requests go on by the
machine's own account book alone, and what they took is told once it is back.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from gateway.admission.quotas.periods import Calendar
from gateway.admission.quotas.refusals import TooMany, refusal, too_many
from gateway.admission.quotas.scopes import Scope
from gateway.admission.quotas.share_script import EXCHANGE, Amounts, Ask, Given, ShareAnswer, ShareRequest
from gateway.admission.quotas.shares import Share, needed
from gateway.agreement.link import Away, RedisLink
from gateway.agreement.policies import MEMBER_ALIVE_S, PROBE_S, SAY_AGAIN_S

TICK_S = 0.1
"""Between two looks at shares that are used."""
MOST_AT_ONCE = 256
"""Accounts of one exchange."""
AGAIN_AFTER_S = (0.005, 0.02)
"""Who finds no place asks again so soon: another gateway may be giving one back just then."""
REFUSED_FOR_S = 0.1
"""What was refused is refused again so long without asking."""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(ShareAnswer).decode

Counted = Callable[[str], tuple[int, float, int, float]]
"""Day, its tokens, month and its tokens, as this machine has counted them of an account."""


class ShareLacking(TooMany):
    """The share does not hold what a request needs: Redis is asked, and the request waits for that."""

    def __init__(self, shares: SharesOfAll, wants: Sequence[tuple[Scope, Amounts]], wanted: float) -> None:
        scope = wants[0][0]
        super().__init__(f"{scope.said}: the share is empty", "share_lacking", 0.0, scope)
        self._shares = shares
        self.wants = wants
        self.wanted = wanted

    async def fetched(self) -> None:
        """Until Redis has answered, or `timeout_ms`. Raises TooMany where the limit is reached."""
        await self._shares.fetch(self)

    @property
    def may_wait(self) -> bool:
        return True


class _Waiter(NamedTuple):
    """A request that an account's share does not hold."""

    scope: Scope
    wanted: float
    need: Amounts
    answer: asyncio.Future[TooMany | None]


_Waiting = Mapping[str, Sequence[_Waiter]]
"""By account."""


class SharesOfAll:
    """Use it in one event loop; `run` must run beside."""

    def __init__(
        self,
        link: RedisLink,
        counted: Counted,
        next_end_s: Callable[[Scope], float],
        now: Callable[[], float],
    ) -> None:
        """`next_end_s`: until a request of an account ends, as far as can be said."""
        self._link = link
        self._counted = counted
        self._next_end_s = next_end_s
        self._now = now
        self._calendar = Calendar()
        self._clock = time.monotonic
        self._member = secrets.token_hex(8)
        self._members = 1
        self._turn = 0
        self._shares: dict[str, Share] = {}
        self._in_use: dict[str, Share] = {}
        """Those of them that an exchange may have to speak of: there may be many more accounts."""
        self._waiting: dict[str, list[_Waiter]] = {}
        self._refused: dict[str, tuple[float, Amounts, Given]] = {}
        """Until when, from what need on, and by what answer."""
        self._unheard: list[Ask] = []
        """Of an exchange that may not have been heard; it is said again before anything else."""
        self._kick = asyncio.Event()
        self._breathed_at = self._said_at = float("-inf")

    # For the requests.

    def check(self, scopes: Sequence[Scope], wanted: float) -> None:
        """Raises ShareLacking, or TooMany for what was refused just now; nothing is taken."""
        lacking: list[tuple[Scope, Amounts]] = []
        for scope in scopes:
            need = needed(scope.limits, wanted)
            if self._share(scope).holds(need) or not self._link.up:
                continue
            refused = self._refused.get(scope.account)
            if refused is not None and self._clock() < refused[0] and _at_least(need, refused[1]):
                raise self._refusal(scope, wanted, refused[2])
            lacking.append((scope, need))
        if lacking:
            raise ShareLacking(self, lacking, wanted)

    def take(self, scope: Scope, wanted: float) -> None:
        """After `check`, for each account."""
        self._share(scope).take(needed(scope.limits, wanted))

    def settle(
        self, scope: Scope, tokens: float, budget: float, requests: int, *, of_month: float = 0.0
    ) -> None:
        """So much of what a request had taken is left; less than 0: it took more.

        `of_month`: of its budget, where it began on a day before and this is its month.
        """
        # By the limits that it was taken by; those of now may be others.
        share, limits = self._share(scope, newest=False), scope.limits
        bounded = limits.tokens_per_day is not None or limits.tokens_per_month is not None
        if bounded:
            share.settle_late(of_month)
        share.settle(
            tokens if limits.tokens_per_minute is not None else 0.0,
            budget if bounded else 0.0,
            requests if limits.requests_per_minute is not None else 0,
        )
        if limits.max_in_flight is not None and not share.kept_places(self._members):
            self._kick.set()  # the place is for whoever comes next, at any gateway

    def left(self, scope: Scope) -> tuple[float, float] | None:
        """Requests and tokens that are left to everybody of a minute's, as far as it is known; or None."""
        share = self._shares.get(scope.account)
        if share is None or share.known is None or not self._link.up:
            return None
        return share.known.level + share.requests, share.known.token_level + share.tokens

    async def fetch(self, lacking: ShareLacking) -> None:
        """Ask for what a request lacks, again while all places are others', as `ShareLacking.fetched` has it.

        Raises RequestError where Redis refuses it.
        """
        for pause_s in (*AGAIN_AFTER_S, None):
            refused = await self._asked(lacking)
            if refused is None:
                return
            if pause_s is None or refused.code != "max_in_flight":
                raise refused
            await asyncio.sleep(pause_s)

    async def _asked(self, lacking: ShareLacking) -> TooMany | None:
        loop = asyncio.get_running_loop()
        answers = [loop.create_future() for _ in lacking.wants]
        for (scope, need), answer in zip(lacking.wants, answers, strict=True):
            self._share(scope)  # which an exchange may have put aside since it was looked at
            waiter = _Waiter(scope, lacking.wanted, need, answer)
            self._waiting.setdefault(scope.account, []).append(waiter)
        self._kick.set()
        try:
            async with asyncio.timeout(self._link.timeout_s):
                refused = [found for answer in answers if (found := await answer) is not None]
        except TimeoutError:
            # From now on all go by the account book, until `run` has an answer again.
            self._link.lost("no answer in time")
            return None
        return max(refused, key=lambda one: one.wait_s, default=None)

    # Beside them.

    async def run(self) -> None:
        """Settle every account with Redis each TICK_S, or when one runs short, until cancelled."""
        while True:
            await self.exchange()
            if not self._link.up:
                await asyncio.sleep(PROBE_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK_S):
                    await self._kick.wait()
            self._kick.clear()

    async def leave(self) -> None:
        """Give every share back, so that the other gateways need not wait until it lapses."""
        if self._link.up:
            for share in self._shares.values():
                share.forget()
            await self.exchange()

    async def exchange(self) -> None:
        """Say and hear what there is; where Redis is away, whoever waits goes on without it."""
        # Who comes while Redis is asked is in the next one.
        waiting, self._waiting = self._waiting, {}
        today = self._calendar.of(self._now())
        for share in self._in_use.values():
            share.begins(*today)
        refused: dict[str, tuple[Amounts, Given]] = {}
        try:
            if self._unheard:
                # Under the turn that it had, by which the script knows whether it was counted.
                self._unheard = [self._shares[ask.account].said_again(ask) for ask in self._unheard]
                await self._say(self._unheard)
                self._unheard = []
            asks = self._asks(waiting)
            if asks or self._clock() - self._said_at >= SAY_AGAIN_S:
                self._turn += 1
                self._unheard = asks
                refused = await self._say(asks)
                self._unheard = []
        except Away:
            pass  # the link has said so
        finally:
            for one in (one for waiters in waiting.values() for one in waiters if not one.answer.done()):
                one.answer.set_result(self._verdict(one, refused.get(one.scope.account)))
        if waiting:  # they take it now, before somebody else's exchange has it given back
            await asyncio.sleep(0)

    def _verdict(self, one: _Waiter, refused: tuple[Amounts, Given] | None) -> TooMany | None:
        if refused is None or not _at_least(one.need, refused[0]):
            return None
        return self._refusal(one.scope, one.wanted, refused[1])

    def _asks(self, waiting: _Waiting) -> list[Ask]:
        now = self._clock()
        since_s = now - self._breathed_at
        repeats = now - self._said_at >= SAY_AGAIN_S
        asks: list[Ask] = []
        for account, share in list(self._in_use.items()):
            if since_s >= TICK_S:
                share.breathe(since_s)
            needs = [one.need for one in waiting.get(account, ()) if not one.answer.done()]
            if not needs and share.quiet:
                share.forget()
                del self._in_use[account]
                continue
            ask = share.ask(account, self._members, needs)
            if ask is None and repeats:
                ask = share.repeat(account)
            if ask is not None:
                asks.append(ask)
        if since_s >= TICK_S:
            self._breathed_at = now
        return asks

    async def _say(self, asks: Sequence[Ask]) -> dict[str, tuple[Amounts, Given]]:
        """What was refused, by account: the need and the answer. Raises Away."""
        refused: dict[str, tuple[Amounts, Given]] = {}
        for first in range(0, max(1, len(asks)), MOST_AT_ONCE):
            part = list(asks[first : first + MOST_AT_ONCE])
            # Each part has a turn of its own: of an exchange that broke off some may have been heard.
            keys = [self._link.key("members"), self._link.key("turn", self._member, str(first))]
            for ask in part:
                keys += [self._link.key("account", ask.account), self._link.key("places", ask.account)]
            asked = ShareRequest(self._member, MEMBER_ALIVE_S, self._turn, part)
            answer = _decode(await self._link.run(EXCHANGE, keys, [_encode(asked)]))
            self._members = answer.members
            for ask, given in zip(part, answer.accounts, strict=True):
                self._shares[ask.account].given(given)
                self._refused.pop(ask.account, None)
                if not given.enough:
                    refused[ask.account] = ask.need, given
                    if not ask.need.places:  # a place may come free at any moment
                        self._refused[ask.account] = self._clock() + REFUSED_FOR_S, ask.need, given
        self._said_at = self._clock()
        return refused

    def _refusal(self, scope: Scope, wanted: float, given: Given) -> TooMany:
        now = self._now()
        row = (
            given.level, now, given.token_level, now,
            given.day, given.day_tokens, given.month, given.month_tokens,
        )  # fmt: skip
        found = refusal(scope, row, given.in_flight, wanted, now, lambda _: self._next_end_s(scope))
        if found is None:  # by Redis's clock it is another day, say
            found = too_many(f"others wait for {scope.said}", "rate_limit_exceeded", 1.0, scope)
        return found

    def _share(self, scope: Scope, *, newest: bool = True) -> Share:
        share = self._shares.get(scope.account)
        if share is None:
            share = self._shares[scope.account] = Share(scope.limits, self._counted(scope.account))
        self._in_use[scope.account] = share
        if newest:
            share.limits = scope.limits
        share.begins(*self._calendar.of(self._now()))
        return share


def _at_least(need: Amounts, least: Amounts) -> bool:
    """Whether who is refused `least` is refused `need`."""
    return need.tokens >= least.tokens and need.budget >= least.budget
