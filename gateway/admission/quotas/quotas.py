"""May this request go on, and what does it take: reserved before it runs, settled by what it used."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Callable, Sequence

from gateway.admission.quotas.account import Holding, Row, refilled, settled, with_request
from gateway.admission.quotas.account_book import AccountBook
from gateway.admission.quotas.bucket import level_now
from gateway.admission.quotas.in_line import InLine
from gateway.admission.quotas.periods import Calendar, day_of, month_of
from gateway.admission.quotas.rate_headers import RateLines
from gateway.admission.quotas.refusals import TooMany, refusal, too_many
from gateway.admission.quotas.scopes import Scope, Scopes
from gateway.admission.quotas.share_exchange import ShareLacking, SharesOfAll
from gateway.admission.quotas.spent import Spent, spent
from gateway.agreement.link import RedisLink
from gateway.config.document import Config
from gateway.errors import ConfigError, Unavailable
from gateway.http.request_cycle import header_pairs

logger = logging.getLogger("gateway.admission.quotas")

BYTES_PER_TOKEN = 4
"""Of a prompt, to reserve by; English text has some four characters a token."""
ANSWER_TOKENS = 1024
"""Where nothing says how long an answer may be."""
MOST_REMEMBERED = 10_000
"""Pairs of a key and a model whose accounts are at hand; with one more all are looked up anew."""


class Reservation:
    """What one request holds until it is settled, once; a second time does nothing."""

    __slots__ = ("_of_parts", "_quotas", "_taken", "header_block", "prompt_tokens")

    def __init__(
        self, quotas: Quotas, taken: Sequence[Holding], header_block: bytes, prompt_tokens: int
    ) -> None:
        self._quotas = quotas
        self._taken: Sequence[Holding] | None = taken
        self._of_parts = 0
        self.header_block = header_block
        """Lines of OpenAI's `x-ratelimit-…`, as they stand after this request, or once it was given back."""
        self.prompt_tokens = prompt_tokens
        """As they were guessed."""

    def settle(self, tokens: int) -> None:
        """It has ended, and took so many, prompt and answer together."""
        taken, self._taken = self._taken, None
        if taken is not None:
            self._quotas.settle(taken, tokens + self._of_parts)

    def part(self) -> Part:
        """For a stage's request, whose tokens are this one's."""
        return Part(self)

    def add(self, tokens: int) -> None:
        """A part has ended, and took so many."""
        self._of_parts += tokens

    def give_back(self) -> None:
        """It never ran: neither its tokens nor the request itself count as used."""
        taken, self._taken = self._taken, None
        if taken is not None:
            self._quotas.settle(taken, 0, requests=1)
            self.header_block = self._quotas.standing([one.scope for one in taken])


class Part:
    """What a stage of a pipeline holds: nothing of its own."""

    __slots__ = ("_whole",)

    header_block = b""
    prompt_tokens = 0

    def __init__(self, whole: Reservation) -> None:
        self._whole = whole

    def settle(self, tokens: int) -> None:
        """It has ended, and took so many."""
        self._whole.add(tokens)

    def give_back(self) -> None:
        """It never ran; nothing of its own was taken."""

    def part(self) -> Part:
        """A part's part is the whole's."""
        return self


class Quotas:
    """Every account of a gateway; used in the event loop's thread alone."""

    def __init__(
        self, config: Config, now: Callable[[], float] = time.time, link: RedisLink | None = None
    ) -> None:
        """`link`: to what other gateways count as well."""
        self._folder = config.state_dir
        self.configure(config)
        self._book: AccountBook | None = None
        """Opened by the first request that something bounds: a worker is forked after this is made."""
        self._now = now
        self._calendar = Calendar()
        self._settled = asyncio.Event()
        self._lines: dict[str, InLine] = {}
        """By an account's name."""
        self.shares = None if link is None else SharesOfAll(link, self._counted, self._next_end_s, now)
        """Of what several gateways have together; without them None."""

    def configure(self, config: Config) -> None:
        """Other limits from now on; what was used stays."""
        self._scopes = Scopes(config)
        self.bounded = self._scopes.any
        """Whether anything has a limit."""
        self._accounts: dict[tuple[str, str], tuple[tuple[Scope, ...], RateLines]] = {}
        """Of a key's requests to a model."""

    def close(self) -> None:
        """Nothing is reserved or settled any more."""
        if self._book is not None:
            self._book.close()
            self._book = None

    async def leave(self) -> None:
        """Give back what is held for no request, then `close`."""
        if self.shares is not None:
            await self.shares.leave()
        self.close()

    def spent(self, scope: Scope) -> list[Spent]:
        """What is used of each bound of an account (`scopes`). Raises Unavailable."""
        book, now = self._opened(), self._now()
        with book.locked():
            row, in_flight = book.read(scope.account), book.in_flight(scope.account)
        return spent(scope.limits, row, in_flight, now, day_of(now), month_of(now))

    @property
    def scopes(self) -> Scopes:
        """Which limits are in force."""
        return self._scopes

    async def admitted(
        self, key: str, model: str, prompt_bytes: int, answer_tokens: int, *, behind: bool = False
    ) -> Reservation | None:
        """As `reserve`, but where the account that is full says `wait`, in turn until there is room; what
        comes `behind` every client stands in no line with them.

        Raises TooMany after `max_wait_s`, or at once where the room comes later than that.
        """
        try:
            return await self._admitted(key, model, prompt_bytes, answer_tokens, behind)
        except ConfigError as error:
            raise _not_counted(error) from error
        except TooMany as full:
            self._say_how_it_stands(full, key, model)
            raise

    async def _admitted(
        self, key: str, model: str, prompt_bytes: int, answer_tokens: int, behind: bool
    ) -> Reservation | None:
        ends_at = math.inf
        held: InLine | None = None
        wanted = prompt_bytes // BYTES_PER_TOKEN + answer_tokens
        try:
            while True:
                try:
                    return await self._reserved(key, model, prompt_bytes, answer_tokens, held)
                except TooMany as full:
                    ends_at = min(ends_at, self._now() + full.scope.limits.max_wait_s)
                    left_s = ends_at - self._now()
                    if behind or not full.may_wait or left_s <= 0 or full.wait_s > left_s:
                        raise
                    line = self._line(full.scope)
                    if held is line:
                        await self._pause(min(full.wait_s, left_s))
                        continue
                    # In one line at a time, or two requests could stand in front of what the other waits for.
                    if held is not None:
                        held.gives_way(wanted)
                    held = None
                    await self._get_in_line(line, wanted, left_s, full)
                    held = line
        finally:
            if held is not None:
                held.gives_way(wanted)

    async def _reserved(
        self, key: str, model: str, prompt_bytes: int, answer_tokens: int, held: InLine | None
    ) -> Reservation | None:
        """As `_reserve`, once the shares that it needs are here."""
        while True:
            try:
                return self._reserve(key, model, prompt_bytes, answer_tokens, held)
            except ShareLacking as lacking:
                await lacking.fetched()

    def _line(self, scope: Scope) -> InLine:
        line = self._lines.get(scope.account)
        if line is None:
            line = self._lines[scope.account] = InLine()
        return line

    async def _get_in_line(self, line: InLine, wanted: float, left_s: float, full: TooMany) -> None:
        """Until it stands in front. Raises `full` where that takes too long."""
        line.joins(wanted)
        try:
            async with asyncio.timeout(left_s):
                await line.lock.acquire()
        except BaseException as error:
            line.leaves(wanted)
            if isinstance(error, TimeoutError):
                raise full from None
            raise

    async def _pause(self, seconds: float) -> None:
        """So long, or until a request of this worker has ended."""
        self._settled.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._settled.wait()

    def reserve(self, key: str, model: str, prompt_bytes: int, answer_tokens: int) -> Reservation | None:
        """Take a request and its tokens from every account; None where nothing bounds it.

        Raises TooMany (429), which names the account that makes it wait longest; then nothing is taken. And
        Unavailable (503) where nothing can be counted.
        """
        try:
            return self._reserve(key, model, prompt_bytes, answer_tokens, None)
        except ConfigError as error:
            raise _not_counted(error) from error
        except TooMany as full:
            if not full.may_wait:  # else nobody is told yet
                self._say_how_it_stands(full, key, model)
            raise

    def _say_how_it_stands(self, full: TooMany, key: str, model: str) -> None:
        """The account that has no room comes first, whichever is the narrowest."""
        others = (one for one in self._scopes.of(key, model) if one is not full.scope)
        full.headers = header_pairs(self.standing([full.scope, *others]))

    def standing(self, scopes: Sequence[Scope]) -> bytes:
        """Lines of OpenAI's `x-ratelimit-…` of these accounts as they are now; the first is told first."""
        book, now = self._book, self._now()
        if book is None:  # the gateway has ended
            return b""
        with book.locked():
            rows = [refilled(scope, book.read(scope.account), now) for scope in scopes]
        return RateLines(scopes).block(self._everywhere(scopes, rows))

    def _reserve(
        self, key: str, model: str, prompt_bytes: int, answer_tokens: int, held: InLine | None
    ) -> Reservation | None:
        """`held` is the line that the request stands in front of."""
        scopes, lines = self._accounts.get((key, model)) or self._accounts_of(key, model)
        if not scopes:
            return None
        book = self._book or self._opened()
        prompt_tokens = prompt_bytes // BYTES_PER_TOKEN
        wanted = float(prompt_tokens + answer_tokens)
        now = self._now()
        day, month = self._calendar.of(now)
        taken: list[Holding] = []
        rows: list[Row] = []
        if self.shares is not None:
            # Nothing is awaited from here to `take`: what a share holds now it holds then.
            self.shares.check(scopes, wanted)
        with book.locked():
            for scope in scopes:
                line = self._lines.get(scope.account)
                if line is not None and line is not held and line.requests:
                    raise self._full(scopes, held, wanted, now)
                found = with_request(scope, book.entry(scope.account), wanted, now, day, month)
                if found is None and scope.bounds.max_in_flight is not None and book.forget_dead():
                    found = with_request(scope, book.entry(scope.account), wanted, now, day, month)
                if found is None:
                    raise self._full(scopes, held, wanted, now)
                rows.append(found[0])
                taken.append(found[1])
            # Only now, when every account has room: what is refused takes nothing.
            for scope, row in zip(scopes, rows, strict=True):
                book.write(scope.account, row, 1)
        if self.shares is not None:
            for scope in scopes:
                self.shares.take(scope, wanted)
            rows = self._everywhere(scopes, rows)
        return Reservation(self, taken, lines.block(rows), prompt_tokens)

    def _accounts_of(self, key: str, model: str) -> tuple[tuple[Scope, ...], RateLines]:
        if len(self._accounts) >= MOST_REMEMBERED:
            self._accounts.clear()
        scopes = self._scopes.of(key, model)
        found = self._accounts[key, model] = scopes, RateLines(scopes)
        return found

    def settle(self, taken: Sequence[Holding], tokens: int, requests: int = 0) -> None:
        """Put right what was reserved: `tokens` were used, and `requests` are given back."""
        self._settled.set()
        book = self._book
        if book is None:  # the gateway has ended
            return
        with book.locked():
            for one in taken:
                account = one.scope.account
                book.write(account, settled(one, book.read(account), tokens, requests), -1)
        now = self._now()
        if self.shares is not None:
            day, month = self._calendar.of(now)
            for one in taken:
                left = one.budget_tokens - tokens
                budget = left if one.day == day else 0.0
                of_month = left if one.day != day and one.month == month else 0.0
                self.shares.settle(one.scope, one.minute_tokens - tokens, budget, requests, of_month=of_month)
        if not requests:
            for one in taken:
                if one.scope.bounds.max_in_flight is not None:
                    self._line(one.scope).took(max(0.0, now - one.at))

    def _opened(self) -> AccountBook:
        if self._book is None:
            try:
                self._book = AccountBook(self._folder, now=self._now)
            except ConfigError as error:
                raise _not_counted(error) from error
        return self._book

    def _full(self, scopes: Sequence[Scope], held: InLine | None, wanted: float, now: float) -> TooMany:
        """Of accounts that have no room together, who is told. Call it within `locked`."""
        for scope in scopes:
            line = self._lines.get(scope.account)
            if line is not None and line is not held and line.requests:
                return self._behind(line, scope, wanted, now)
        refusals = [found for scope in scopes if (found := self._refusal(scope, wanted, now))]
        return max(refusals, key=lambda one: one.wait_s)

    def _counted(self, account: str) -> tuple[int, float, int, float]:
        book = self._opened()
        with book.locked():
            *_, day, day_tokens, month, month_tokens = book.read(account)
        return int(day), day_tokens, int(month), month_tokens

    def _next_end_s(self, scope: Scope) -> float:
        return self._line(scope).next_end_s(scope.limits.max_in_flight or 1)

    def _everywhere(self, scopes: Sequence[Scope], rows: list[Row]) -> list[Row]:
        """The rows with what is left to all gateways of a minute's, where that is less than here."""
        if self.shares is None:
            return rows
        found = zip(rows, map(self.shares.left, scopes), strict=True)
        return [
            row if left is None else (min(row[0], left[0]), row[1], min(row[2], left[1]), *row[3:])
            for row, left in found
        ]

    def _refusal(self, scope: Scope, wanted: float, now: float) -> TooMany | None:
        assert self._book is not None
        row, in_flight = self._book.read(scope.account), 0
        if scope.limits.max_in_flight is not None:
            in_flight = self._book.in_flight(scope.account)
        return refusal(scope, row, in_flight, wanted, now, self._line(scope).next_end_s)

    def _behind(self, line: InLine, scope: Scope, wanted: float, now: float) -> TooMany:
        """Others wait for that account: until there is room for them and for this one."""
        assert self._book is not None
        limits = scope.limits
        level, at, tokens, tokens_at, *_ = self._book.read(scope.account)
        wait_s = 1.0
        if limits.requests_per_minute is not None:
            bound = limits.requests_per_minute
            wait_s = line.wait_s(level_now(level, at, now, bound), 1, line.requests, bound)
        if limits.tokens_per_minute is not None:
            bound = limits.tokens_per_minute
            wait_s = max(
                wait_s, line.wait_s(level_now(tokens, tokens_at, now, bound), wanted, line.tokens, bound)
            )
        if limits.max_in_flight is not None:
            wait_s = max(wait_s, (line.requests + 1) * line.next_end_s(limits.max_in_flight))
        return too_many(f"others wait for {scope.said}", "rate_limit_exceeded", wait_s, scope)


def _not_counted(error: ConfigError) -> Unavailable:
    """For what limits bound: nothing of it may go on."""
    logger.error("limits cannot be counted, so what they bound is refused: %s", error)
    text = "Limits cannot be counted; the gateway's log says why."
    return Unavailable(text, code="limits_not_counted", retry_after_s=10)
