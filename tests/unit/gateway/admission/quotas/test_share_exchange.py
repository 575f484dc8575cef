"""Several gateways' limits together: what each takes, what it gives back, and what holds without Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from gateway.admission.quotas.quotas import Quotas, Reservation
from gateway.admission.quotas.refusals import TooMany
from gateway.admission.quotas.shares import Share
from gateway.config.document import Config
from tests.fakes.fake_redis import FakeRedis

pytestmark = pytest.mark.anyio


@dataclass
class Together:
    """Gateways on machines of their own; time passes for all of them when `passes` says so."""

    server: FakeRedis
    gateways: list[Quotas]
    clock: float = 1000.0
    held: list[Reservation] = field(default_factory=list)

    async def passes(self, seconds: float) -> None:
        """In steps as the background has them."""
        for _ in range(max(1, round(seconds / 0.1))):
            self.server.now += min(seconds, 0.1)
            self.clock += min(seconds, 0.1)
            for one in self.gateways:
                assert one.shares is not None
                await one.shares.exchange()

    async def ask(self, gateway: int, tokens: int = 10) -> Reservation:
        """A request's reservation. Raises TooMany."""
        quotas = self.gateways[gateway]
        assert quotas.shares is not None
        asked = asyncio.create_task(quotas.admitted("ci", "base", 0, tokens))
        while not asked.done():
            await asyncio.sleep(0)
            await quotas.shares.exchange()
        made = asked.result()
        assert made is not None
        self.held.append(made)
        return made

    def limited(self, **limits: Any) -> None:
        """Other limits from now on, as a reload brings them."""
        for one in self.gateways:
            one.configure(_config(one._folder, limits))

    async def refused(self, gateway: int, tokens: int = 10) -> TooMany:
        with pytest.raises(TooMany) as refused:
            await self.ask(gateway, tokens)
        return refused.value


def _config(folder: Path, limits: dict[str, Any]) -> Config:
    key = {"sha256": "a" * 64, "limits": limits}
    document = {"base": {"model": "some/model"}, "keys": {"ci": key}, "state_dir": str(folder)}
    return Config.model_validate(document)


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Callable[..., Awaitable[Together]]]:
    made: list[Together] = []

    async def together(count: int = 2, **limits: Any) -> Together:
        server = FakeRedis()
        t = Together(server, [])
        made.append(t)
        for number in range(count):
            folder = tmp_path / str(number)
            folder.mkdir(exist_ok=True)
            quotas = Quotas(_config(folder, limits), lambda: server.now, server.link())
            assert quotas.shares is not None
            quotas.shares._clock = lambda: t.clock
            t.gateways.append(quotas)
            await quotas.shares.exchange()
        return t

    yield together
    for t in made:
        for one in t.gateways:
            one.close()


async def test_two_gateways_let_in_what_one_would(make: Any) -> None:
    t = await make(requests_per_minute=6)
    for number in range(6):
        (await t.ask(number % 2)).settle(10)
    for gateway in (0, 1):
        refused = await t.refused(gateway)
        assert (refused.code, refused.retry_after_s) == ("requests_per_minute", 10)
    await t.passes(10)
    await t.ask(1)


async def test_tokens_that_were_not_used_are_there_for_the_other(make: Any) -> None:
    t = await make(tokens_per_minute=1000)
    held = await t.ask(0, 900)
    assert (await t.refused(1, 200)).code == "tokens_per_minute"
    held.settle(100)
    await t.passes(0.2)
    await t.ask(1, 800)


async def test_a_place_is_the_others_as_soon_as_it_is_free(make: Any) -> None:
    t = await make(max_in_flight=1)
    held = await t.ask(0)
    assert (await t.refused(1)).code == "max_in_flight"
    held.settle(1)
    await t.gateways[0].shares.exchange()  # which the end of the request asks for
    await t.ask(1)


async def test_budgets_are_one_for_all(make: Any) -> None:
    t = await make(tokens_per_day=100, tokens_per_month=1000)
    (await t.ask(0, 60)).settle(60)
    assert (await t.refused(1, 60)).code == "tokens_per_day"
    (await t.ask(1, 40)).settle(10)
    await t.passes(0.2)
    (await t.ask(0, 30)).settle(30)
    assert (await t.refused(0, 1)).code == "tokens_per_day"


def before_midnight(t: Together, seconds: float, *, days: int = 1) -> None:
    """So long before the end of the 15th of January, or so many days later."""
    t.server.now = 1_800_057_600.0 + (days - 1) * 86_400 - seconds


async def test_over_midnight_a_months_reservation_is_put_right_and_the_new_day_untouched(make: Any) -> None:
    t = await make(tokens_per_day=500, tokens_per_month=1000)
    before_midnight(t, 1)
    short, long, late = await t.ask(0, 300), await t.ask(0, 100), await t.ask(0, 50)
    await t.passes(2)
    (await t.ask(1, 20)).settle(20)
    short.settle(100)
    long.settle(150)
    late.give_back()
    await t.passes(0.3)
    account = t.server._accounts["key:ci"]
    assert (account.day_tokens, account.month_tokens) == (20, 270)


async def test_what_was_taken_ahead_of_a_day_is_no_part_of_the_next_ones(make: Any) -> None:
    t = await make(tokens_per_day=60_000, tokens_per_month=600_000)
    before_midnight(t, 1)
    for _ in range(9):
        for _ in range(20):
            (await t.ask(0)).settle(10)
        await t.passes(0.1)
    share = t.gateways[0].shares._shares["key:ci"]
    assert share.budget > 100
    await t.ask(1, 400)
    await t.passes(0.2)
    await t.ask(0, 10)
    await t.passes(10)
    account = t.server._accounts["key:ci"]
    assert (account.day_tokens, account.month_tokens) == pytest.approx((10, 1800 + 410))


async def test_what_was_used_without_redis_yesterday_is_none_of_todays(make: Any) -> None:
    t = await make(1, tokens_per_day=500, tokens_per_month=1000)
    (await t.ask(0, 10)).settle(10)
    before_midnight(t, 3)
    t.server.away = True
    await t.passes(1)
    (await t.ask(0, 200)).settle(200)
    await t.passes(4)
    (await t.ask(0, 50)).settle(50)
    t.server.away = False
    await t.passes(1.1)
    account = t.server._accounts["key:ci"]
    assert (account.day_tokens, account.month_tokens) == (50, 260)


async def test_what_a_month_did_not_use_is_none_of_the_next_ones(make: Any) -> None:
    t = await make(1, tokens_per_month=1000)
    before_midnight(t, 1, days=17)
    held = await t.ask(0, 300)
    await t.passes(2)
    (await t.ask(0, 100)).settle(100)
    held.settle(10)
    await t.passes(0.3)
    assert t.server._accounts["key:ci"].month_tokens == 100


async def test_what_is_used_often_is_taken_ahead_and_asks_nobody(make: Any) -> None:
    t = await make(requests_per_minute=60_000)
    for _ in range(10):
        for _ in range(20):
            (await t.ask(0)).settle(1)
        await t.passes(0.1)
    asked = t.server.asked
    for _ in range(20):
        t.gateways[0].reserve("ci", "base", 0, 10).settle(1)
    assert t.server.asked == asked
    await t.passes(10)  # nobody asks any more: all of it is given back
    assert t.gateways[0].shares._shares["key:ci"].requests == 0
    assert t.server._accounts["key:ci"].level == 60_000


async def test_an_account_that_nobody_uses_costs_an_exchange_nothing(
    make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    t = await make(1, requests_per_minute=60_000, max_in_flight=4)
    for _ in range(3):
        (await t.ask(0)).settle(10)
        await t.passes(0.1)
    looked: list[Share] = []
    breathe = Share.breathe

    def noted(share: Share, seconds: float) -> None:
        looked.append(share)
        breathe(share, seconds)

    monkeypatch.setattr(Share, "breathe", noted)
    await t.passes(0.1)
    assert looked, "its rate goes down yet"
    await t.passes(10)
    looked.clear()
    await t.passes(1)
    assert looked == []
    (await t.ask(0)).settle(10)
    await t.passes(0.1)
    assert len(looked) == 1


async def test_what_a_dead_gateway_held_is_free_after_its_time(make: Any) -> None:
    t = await make(max_in_flight=1)
    await t.ask(0)
    dead = t.gateways.pop(0)
    await t.passes(4.5)
    assert (await t.refused(0)).code == "max_in_flight"
    await t.passes(1)
    await t.ask(0)
    dead.close()


async def test_without_redis_each_counts_by_itself_and_tells_later(make: Any) -> None:
    t = await make(requests_per_minute=6, tokens_per_day=1000)
    t.server.away = True
    await t.passes(1.1)
    for gateway in (0, 1):
        for _ in range(6):
            (await t.ask(gateway)).settle(10)
        assert (await t.refused(gateway)).code == "requests_per_minute"
    t.server.away = False
    await t.passes(1.1)
    account = t.server._accounts["key:ci"]
    assert account.day_tokens == 120, "both machines' tokens of that time"
    assert -6 <= account.level < 0


async def test_what_may_not_have_been_heard_is_counted_once(make: Any) -> None:
    t = await make(1, tokens_per_day=1000)
    (await t.ask(0, 100)).settle(30)
    t.server.unanswered = True
    await t.passes(0.3)
    t.server.unanswered = False
    await t.passes(1.1)
    assert t.server._accounts["key:ci"].day_tokens == 30


async def test_a_redis_that_was_emptied_learns_budgets_and_places_again(make: Any) -> None:
    t = await make(tokens_per_day=100, max_in_flight=2)
    (await t.ask(0, 60)).settle(60)
    await t.ask(0, 10)
    await t.passes(0.2)
    t.server.emptied()
    await t.passes(1.1)
    assert (await t.refused(1, 50)).code == "tokens_per_day"
    await t.ask(1, 10)
    assert (await t.refused(1, 1)).code == "max_in_flight"


async def test_who_would_wait_too_long_is_refused_and_holds_nothing(make: Any) -> None:
    t = await make(requests_per_minute=1, on_limit="wait", max_wait_s=0.05)
    await t.ask(0)
    assert (await t.refused(1)).retry_after_s == 60, "longer than it may wait"
    assert t.gateways[1].shares._shares["key:ci"].used == 0


async def test_nothing_is_left_when_a_gateway_leaves(make: Any) -> None:
    t = await make(requests_per_minute=60_000)
    for _ in range(10):
        for _ in range(20):
            (await t.ask(0)).settle(1)
        await t.passes(0.1)
    used = 200
    await t.gateways[0].leave()
    assert t.server._accounts["key:ci"].level >= 60_000 - used


@asynccontextmanager
async def running(quotas: Quotas) -> AsyncIterator[None]:
    assert quotas.shares is not None
    task = asyncio.create_task(quotas.shares.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_what_was_given_is_not_given_back_before_it_is_taken(make: Any) -> None:
    t = await make(1, requests_per_minute=1000)
    quotas = t.gateways[0]
    first = asyncio.create_task(quotas.admitted("ci", "base", 0, 10))
    await asyncio.sleep(0)
    second: list[asyncio.Task[Reservation | None]] = []

    def another() -> None:
        if not second:
            second.append(asyncio.create_task(quotas.admitted("ci", "base", 0, 10)))

    quotas.shares._link._on_asked = another
    await quotas.shares.exchange()
    await quotas.shares.exchange()  # at once, since the second waits
    assert first.done(), "else both would have given back what the other was given, for ever"
    await asyncio.gather(first, *second)


async def test_many_that_wait_are_served_by_one_exchange(make: Any) -> None:
    t = await make(1, requests_per_minute=1000)
    quotas = t.gateways[0]
    async with running(quotas):
        await asyncio.sleep(0)
        asked = t.server.asked
        await asyncio.gather(*(quotas.admitted("ci", "base", 0, 10) for _ in range(50)))
        assert t.server.asked <= asked + 2


async def test_a_request_from_before_a_reload_brings_no_earlier_limit_back(
    make: Callable[..., Awaitable[Together]],
) -> None:
    t = await make(1, requests_per_minute=1000)
    (quotas,) = t.gateways
    held = await t.ask(0)
    t.limited(requests_per_minute=10)
    await t.ask(0)
    held.settle(5)
    assert quotas.shares is not None
    (share,) = quotas.shares._shares.values()
    assert share.limits.requests_per_minute == 10


async def test_a_minutes_bound_that_is_set_later_begins_full(
    make: Callable[..., Awaitable[Together]],
) -> None:
    t = await make(tokens_per_minute=1000)
    (await t.ask(0)).settle(10)
    await t.passes(0.2)
    t.limited(tokens_per_minute=1000, requests_per_minute=6)
    for number in range(6):
        (await t.ask(number % 2)).settle(10)
    assert (await t.refused(0)).code == "requests_per_minute"


async def test_places_of_a_bound_that_was_lifted_are_free_where_it_is_set_again(
    make: Callable[..., Awaitable[Together]],
) -> None:
    t = await make(requests_per_minute=60, max_in_flight=4)
    held = [await t.ask(0) for _ in range(3)]
    t.limited(requests_per_minute=60)
    held.append(await t.ask(0))
    for one in held:
        one.settle(1)
    await t.passes(0.2)
    t.limited(requests_per_minute=60, max_in_flight=4)
    for _ in range(4):
        await t.ask(1)
