"""The scripts on a real server do what the fake says that they do."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator

import msgspec
import pytest

from gateway.admission.quotas.periods import day_of, month_of
from gateway.admission.quotas.share_script import EXCHANGE, Amounts, Ask, ShareAnswer, ShareRequest
from gateway.agreement.link import RedisLink, Script
from gateway.agreement.table_scripts import COLLECT, REPORT
from gateway.config.sections.shared_settings import SharedConfig
from launch.supervisor.several.leadership import LEAD, LEAVE
from tests.fakes.fake_redis import FakeRedis
from tests.faults.redis.several import needs_redis
from tests.support.real.redis_server import RedisServer
from tests.support.waiting import eventually

pytestmark = [pytest.mark.anyio, needs_redis]

BY_OUR_CLOCK = Script(EXCHANGE.text.replace("redis.call('TIME')", "{ARGV[2], '0'}"))
BOUNDS = [
    (60.0, 0.0, 0.0, 0.0, 0),
    (60.0, 240.0, 600.0, 3000.0, 6),
    (0.0, 0.0, 0.0, 900.0, 0),
    (0.0, 0.0, 0.0, 0.0, 3),
]


@pytest.fixture
async def link(redis: RedisServer) -> AsyncIterator[RedisLink]:
    made = RedisLink(SharedConfig.model_validate({"redis": redis.url}))
    yield made
    await made.close()
    await made.close()


def amounts(chance: random.Random, places: bool = True) -> Amounts:
    whole = chance.choice((0, 0, 1, 3))
    return Amounts(float(whole), whole * 12.0, whole * 12.0, chance.choice((0, 1)) if places else 0)


def numbers(answer: ShareAnswer) -> list[float]:
    found = [float(answer.members)]
    for given in answer.accounts:
        whole = (*msgspec.structs.astuple(given), *msgspec.structs.astuple(given.amounts))
        found += [float(one) for one in whole if not isinstance(one, Amounts)]
    return found


async def test_shares_are_taken_and_given_back_alike(link: RedisLink) -> None:
    chance = random.Random(7)
    fake = FakeRedis()
    turns = {"a": 0, "b": 0, "c": 0}
    held: dict[tuple[str, int], int] = {}
    refused = 0
    for _ in range(600):
        fake.now += chance.choice((0.0, 0.25, 1.0, 7.0, 7.0 * 3600))
        member = chance.choice(list(turns))
        turns[member] += chance.choice((0, 1, 1, 1))
        asks: list[Ask] = []
        for number in chance.sample(range(len(BOUNDS)), chance.randint(0, 3)):
            back = amounts(chance, places=False)
            if chance.random() < 0.2:
                back = Amounts(-back.requests, -back.tokens, -back.budget)
            back.places = max(0, held.get((member, number), 0) - chance.choice((0, 1)))
            known = (day_of(fake.now), 12.0, month_of(fake.now), 24.0)
            need, queued, ahead = amounts(chance), amounts(chance), amounts(chance)
            late = (chance.choice((0.0, -36.0, 12.0)), known[2] - chance.choice((0, 0, 1)))
            bounds = BOUNDS[number] if chance.random() < 0.8 else chance.choice(BOUNDS)  # they may change
            asks.append(Ask(f"account {number}", bounds, back, need, queued, ahead, known, late))
        asked = ShareRequest(member, 5.0, turns[member], asks)
        keys = ["members", f"turn:{member}"]
        for ask in asks:
            keys += [f"account:{ask.account}", f"places:{ask.account}"]
        said = await link.run(BY_OUR_CLOCK, keys, [msgspec.json.encode(asked), f"{fake.now:.6f}"])
        answer = msgspec.json.decode(said, type=ShareAnswer)
        for ask, given in zip(asks, answer.accounts, strict=True):
            held[member, int(ask.account.split()[1])] = ask.back.places + given.amounts.places
            refused += not given.enough
        expected = fake.exchange(keys, asked)
        assert numbers(answer) == pytest.approx(numbers(expected), abs=1e-4), asked
    assert refused > 50


async def test_a_month_begins_where_the_calendar_has_it(link: RedisLink) -> None:
    for day in (0, 58, 59, 11_016, 11_017, 19_782, 19_783, 20_786, 21_244, 47_540, 47_541):
        for number in range(32):
            now = (day + number) * 86_400.0 + 1
            ask = Ask(f"{day}", BOUNDS[3], Amounts(), Amounts(), Amounts(), Amounts(), (0, 0.0, 0, 0.0))
            asked = msgspec.json.encode(ShareRequest("a", 5.0, 1, [ask]))
            said = await link.run(BY_OUR_CLOCK, ["m", "t", f"a{now}", f"p{now}"], [asked, f"{now:.6f}"])
            (given,) = msgspec.json.decode(said, type=ShareAnswer).accounts
            assert (given.day, given.month) == (day_of(now), month_of(now))


async def test_the_server_runs_the_script_by_its_own_clock(link: RedisLink) -> None:
    keys = ["members", "turn", "account", "places"]
    ask = Ask(
        "a",
        (60.0, 0.0, 0.0, 0.0, 1),
        Amounts(),
        Amounts(60, places=1),
        Amounts(),
        Amounts(),
        (0, 0.0, 0, 0.0),
    )
    answers = [
        msgspec.json.decode(
            await link.run(EXCHANGE, keys, [msgspec.json.encode(ShareRequest(member, 5.0, 1, [ask]))]),
            type=ShareAnswer,
        )
        for member in ("a", "b")
    ]
    assert [one.accounts[0].enough for one in answers] == [True, False]
    assert answers[1].accounts[0].in_flight == 1


async def test_a_clock_that_is_set_back_keeps_nobody_alive(link: RedisLink) -> None:
    """As where another server takes over, whose clock is behind."""
    now = 1_800_000_000.0
    keys = ["members", "turn", "account", "places"]
    one = Ask("a", BOUNDS[3], Amounts(), Amounts(places=3), Amounts(), Amounts(), (0, 0.0, 0, 0.0))
    for member, at in (("dead", now + 3600), ("b", now)):
        asked: list[str | bytes] = [msgspec.json.encode(ShareRequest(member, 5.0, 1, [one])), f"{at:.6f}"]
        answer = msgspec.json.decode(await link.run(BY_OUR_CLOCK, keys, asked), type=ShareAnswer)
        assert (answer.members, answer.accounts[0].enough) == (1, True), "the dead one's places are free"
    report, collect = (
        Script(one.text.replace("redis.call('TIME')[1]", f"ARGV[{place}]"))
        for one, place in ((REPORT, 4), (COLLECT, 2))
    )
    keys = ["reports", "reporting", "demand"]
    for name, at in (("dead", now + 3600), ("b", now)):
        await link.run(report, keys, [name, name, "5", f"{at:.0f}"])
    assert await link.run(collect, keys, ["5", f"{now:.0f}"]) == [[b"b"], b""]
    assert await link.run(collect, keys, ["5", f"{now + 5:.0f}"]) == [[], b""]


async def test_one_leads_until_it_leaves_or_is_silent(link: RedisLink) -> None:
    chance = random.Random(7)
    fake, led = FakeRedis(), 0
    for _ in range(200):
        word, alive_ms = chance.choice((b"a", b"b", b"c")), "60000"
        if chance.random() < 0.7:
            expected = fake.lead("leader", word, alive_ms)
            assert await link.run(LEAD, ["leader"], [word, alive_ms]) == expected
            led += not expected
        else:
            fake.leave("leader", word)
            await link.run(LEAVE, ["leader"], [word])
        assert await link.get("leader") == fake.value("leader")
    assert 20 < led < 120
    fake.lead("silent", b"a", "50")
    await link.run(LEAD, ["silent"], [b"a", "50"])
    fake.now += 0.05
    assert fake.value("silent") is None

    async def gone() -> bool:
        return await link.get("silent") is None

    await eventually(gone)
