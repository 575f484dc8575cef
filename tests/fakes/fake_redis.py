"""Redis as gateways use it, in this process: what the scripts do, written down a second time, with hooks.

`tests/faults/redis/test_scripts.py` holds it against the scripts themselves on a real server.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, cast

import msgspec

from gateway.admission.quotas.bucket import level_now
from gateway.admission.quotas.periods import day_of, month_of
from gateway.admission.quotas.share_script import EXCHANGE, Amounts, Ask, Given, ShareAnswer, ShareRequest
from gateway.agreement.link import Away, RedisLink, Script
from gateway.agreement.table_scripts import COLLECT, MISSING, OUTLIVED, REPORT, WRITE, WRITTEN
from launch.supervisor.several.leadership import LEAD, LEAVE


@dataclass
class _Account:
    level: float
    tokens: float
    at: float
    day: int
    day_tokens: float
    month: int
    month_tokens: float
    places: dict[str, int] = field(default_factory=dict)


class FakeRedis:
    """One server; `link` gives as many ways to it as are wanted."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now
        self.away = False
        """Nobody is answered."""
        self.unanswered = False
        """What is asked is done, and the answer lost."""
        self.asked = 0
        """Exchanges that came through."""
        self._accounts: dict[str, _Account] = {}
        self._alive: dict[str, float] = {}
        self._turns: dict[str, int] = {}
        self.values: dict[str, bytes] = {}
        self.expires: dict[str, float] = {}
        self.reports: dict[str, bytes] = {}
        self.listeners: list[asyncio.Event] = []
        self.told = True
        """Whether messages come through."""

    def emptied(self) -> None:
        """It was restarted, and kept nothing."""
        self._accounts, self._alive, self._turns = {}, {}, {}
        self.values, self.reports, self.expires = {}, {}, {}

    def value(self, key: str) -> bytes | None:
        if self.expires.get(key, math.inf) <= self.now:
            del self.values[key], self.expires[key]
        return self.values.get(key)

    def lead(self, key: str, word: bytes, alive_ms: str) -> bytes:
        there = self.value(key)
        if there is not None and there != word:
            return there
        self.values[key], self.expires[key] = word, self.now + float(alive_ms) / 1000
        return b""

    def leave(self, key: str, word: bytes) -> None:
        if self.value(key) == word:
            del self.values[key], self.expires[key]

    def write(self, keys: Sequence[str], life: str, version: str, line: bytes) -> int:
        table, of_version, of_life, control = keys
        if int(life) < int(self.values.get(of_life, b"0")):
            return OUTLIVED
        self.values[control] = life.encode()
        if not line:
            return WRITTEN if self.values.get(of_version) == version.encode() else MISSING
        self.values |= {of_life: life.encode(), table: line, of_version: version.encode()}
        for one in self.listeners if self.told else ():
            one.set()
        return WRITTEN

    def link(self, on_asked: Callable[[], None] = lambda: None) -> RedisLink:
        return cast(RedisLink, FakeLink(self, on_asked))

    def exchange(self, keys: Sequence[str], asked: ShareRequest) -> ShareAnswer:
        latest = self.now + asked.alive_s + 1
        self._alive = {one: until for one, until in self._alive.items() if self.now < until <= latest}
        self._alive[asked.member] = self.now + asked.alive_s
        fresh = asked.turn > self._turns.get(keys[1], 0)
        if fresh:
            self._turns[keys[1]] = asked.turn
        return ShareAnswer(len(self._alive), [self._one(asked.member, one, fresh) for one in asked.accounts])

    def _one(self, member: str, ask: Ask, fresh: bool) -> Given:
        per_minute, tokens_per_minute, per_day, per_month, most = ask.bounds
        day, month = day_of(self.now), month_of(self.now)
        row = self._accounts.get(ask.account)
        if row is None:
            row = self._accounts[ask.account] = _Account(math.inf, math.inf, self.now, *ask.known)
        level = level_now(row.level, row.at, self.now, per_minute)
        tokens = level_now(row.tokens, row.at, self.now, tokens_per_minute)
        day_tokens = row.day_tokens if row.day == day else 0.0
        month_tokens = row.month_tokens if row.month == month else 0.0
        back, need = ask.back, ask.need
        if fresh:
            level = max(min(per_minute, level + back.requests), min(level, -per_minute))
            tokens = max(min(tokens_per_minute, tokens + back.tokens), min(tokens, -tokens_per_minute))
            day_tokens = max(0.0, day_tokens - back.budget)
            month_tokens = max(0.0, month_tokens - back.budget)
            if ask.of_month[1] == month:
                month_tokens = max(0.0, month_tokens - ask.of_month[0])
        budget = min(
            per_day - day_tokens if per_day else math.inf, per_month - month_tokens if per_month else math.inf
        )
        row.places.pop(member, None)
        if most:
            row.places = {one: count for one, count in row.places.items() if one in self._alive}
        others = sum(row.places.values()) if most else 0
        room = most - others - back.places
        enough = all(
            not bounded or not wanted or left >= wanted - 1e-6
            for bounded, wanted, left in (
                (per_minute, need.requests, level),
                (tokens_per_minute, need.tokens, tokens),
                (True, need.budget, budget),
                (most, need.places, room),
            )
        )
        got = Amounts()
        if enough:
            got = Amounts(
                self._part(level, need.requests, ask.queued.requests, ask.ahead.requests)
                if per_minute
                else 0.0,
                self._part(tokens, need.tokens, ask.queued.tokens, ask.ahead.tokens)
                if tokens_per_minute
                else 0.0,
                self._part(budget, need.budget, ask.queued.budget, ask.ahead.budget)
                if budget < math.inf
                else 0.0,
                int(self._part(room, need.places, ask.queued.places, ask.ahead.places)) if most else 0,
            )
        mine = back.places + got.places
        if most and mine:
            row.places[member] = mine
        level, tokens = level - got.requests, tokens - got.tokens
        # Of a bound that there is none of nothing is kept.
        row.level, row.tokens = level if per_minute else math.inf, tokens if tokens_per_minute else math.inf
        row.at = self.now
        row.day, row.day_tokens = day, day_tokens + got.budget
        row.month, row.month_tokens = month, month_tokens + got.budget
        return Given(enough, got, level, tokens, day, row.day_tokens, month, row.month_tokens, others + mine)

    def _part(self, left: float, need: float, queued: float, ahead: float) -> float:
        rest = left - need
        second = max(0.0, min(queued, rest))
        rest -= second
        return need + second + max(0.0, min(ahead, math.floor(rest / (4 * len(self._alive)))))


class FakeLink:
    """As `RedisLink`."""

    timeout_s = 5.0

    def __init__(self, server: FakeRedis, on_asked: Callable[[], None]) -> None:
        self._server = server
        self._on_asked = on_asked
        self.up = False

    def key(self, *parts: str) -> str:
        return ":".join(parts)

    def lost(self, why: str) -> None:
        self.up = False

    async def _reached(self) -> None:
        self._on_asked()
        for _ in range(3):  # others go on meanwhile
            await asyncio.sleep(0)
        if self._server.away:
            self.up = False
            raise Away("away")

    async def run(self, script: Script, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        await self._reached()
        server = self._server
        self.up = not server.unanswered
        answer: Any = 1
        if script is EXCHANGE:
            server.asked += 1
            given = server.exchange(keys, msgspec.json.decode(arguments[0], type=ShareRequest))
            answer = msgspec.json.encode(given)
        elif script is WRITE:
            answer = server.write(keys, *arguments[:3])
        elif script is LEAD:
            answer = server.lead(keys[0], *arguments)
        elif script is LEAVE:
            server.leave(keys[0], *arguments)
        elif script is REPORT:
            server.reports[arguments[0]] = arguments[1]
        else:
            assert script is COLLECT
            answer = [list(server.reports.values()), server.values.pop(keys[2], b"")]
        if server.unanswered:
            raise Away("the answer is lost")
        return answer

    async def get(self, key: str) -> bytes | None:
        await self._reached()
        return self._server.value(key)

    async def many(self, *keys: str) -> list[bytes | None]:
        await self._reached()
        return [self._server.value(key) for key in keys]

    async def put(self, key: str, value: str, most_s: float) -> None:
        await self._reached()
        self._server.values[key] = value.encode()

    @asynccontextmanager
    async def heard(self, channel: str) -> AsyncIterator[Callable[[float], Awaitable[None]]]:
        await self._reached()
        news = asyncio.Event()
        self._server.listeners.append(news)

        async def message(most_s: float) -> None:
            with suppress(TimeoutError):
                async with asyncio.timeout(most_s):
                    await news.wait()
            news.clear()

        try:
            yield message
        finally:
            self._server.listeners.remove(news)

    async def close(self) -> None:
        pass
