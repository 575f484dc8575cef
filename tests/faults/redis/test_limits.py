"""Limits that several gateways have together, while Redis is there and while it is not."""

from __future__ import annotations

import asyncio
import itertools
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from gateway.agreement.policies import MEMBER_ALIVE_S
from tests.faults.conftest import Note
from tests.faults.processes import Program, Served, beside, soon
from tests.faults.promises import median_ms
from tests.faults.redis.several import needs_redis, several
from tests.support.real.redis_server import RedisServer, cut

pytestmark = [pytest.mark.anyio, needs_redis]

FROZEN_S = 10.0
QUICK_MS = 200.0


async def statuses(gateways: list[Served], count: int) -> Counter[int]:
    """Of so many requests at once, in turn over the gateways."""
    turn = itertools.cycle(gateways)
    answers = await asyncio.gather(*(next(turn).chat(f"echo {number}") for number in range(count)))
    return Counter(one.status_code for one in answers)


async def test_two_gateways_never_exceed_one_limit(
    tmp_path: Path, redis: RedisServer, engine: Program, note: Note
) -> None:
    limits = {"requests_per_minute": 40, "max_in_flight": 30}
    began = time.monotonic()
    async with several(tmp_path, engine, [redis.url] * 2, limits=limits) as gateways:
        seen = Counter[int]()
        for _ in range(3):
            seen += await statuses(gateways, 30)
        most = 40 + (time.monotonic() - began) * 40 / 60
    assert 40 <= seen[200] <= most
    assert seen[200] + seen[429] == 90
    note(
        "several gateways never exceed a limit that they have together",
        load="90 requests, 30 at once, over 2 gateways",
        fault="none",
        outcome="the rest is refused",
        figure=f"{seen[200]} of 40 a minute",
    )


async def test_a_frozen_redis_holds_nobody_up(
    tmp_path: Path, redis: RedisServer, engine: Program, note: Note
) -> None:
    limits = {"requests_per_minute": 1_000_000, "max_in_flight": 1000}
    async with several(tmp_path, engine, [redis.url], timeout_ms=QUICK_MS, limits=limits) as (s,):
        async with beside(s) as times_before:
            pass
        async with beside(s) as times:
            redis.signal(signal.SIGSTOP)
            await asyncio.sleep(FROZEN_S)
            redis.signal(signal.SIGCONT)
        assert "is away" in s.gateway.said()
        await soon(lambda: s.gateway.said().rstrip().endswith("answers"))
    before, during = sorted(times_before()), sorted(times())
    late = sum(one > QUICK_MS / 1000 + 2 * before[-1] for one in during)
    assert during[len(during) // 2] < 5 * before[len(before) // 2] + 0.05
    assert late <= len(during) // 20 + 4  # a machine with other work has some of its own
    note(
        "a limit's server that does not answer holds nobody up",
        load=f"4 clients, {len(during)} requests",
        fault=f"redis stopped (SIGSTOP) for {FROZEN_S:.0f} s",
        outcome="each gateway counts by itself meanwhile, no 429",
        figure=f"{median_ms(before)} before, {median_ms(during)} during, longest {during[-1] * 1000:.0f} ms",
    )


async def test_budgets_outlive_a_redis_that_is_killed(
    tmp_path: Path, redis: RedisServer, engine: Program, note: Note
) -> None:
    long = "echo " + "word " * 40
    async with several(tmp_path, engine, [redis.url] * 2, limits={"tokens_per_day": 200}) as (a, b):
        answers = [await a.chat(long, max_tokens=50) for _ in range(6)]
        assert answers[0].status_code == 200
        assert answers[-1].json()["error"]["code"] == "tokens_per_day"
        assert (await b.chat(long, max_tokens=50)).status_code == 429
        redis.kill()
        await soon(lambda: all("is away" in one.gateway.said() for one in (a, b)))
        assert (await b.chat("echo 1", max_tokens=50)).status_code == 200, "it knows of its own machine's use"
        redis.start()
        await soon(lambda: all(one.gateway.said().rstrip().endswith("answers") for one in (a, b)))

        async def refused() -> bool:
            return (await b.chat("echo 2", max_tokens=80)).status_code == 429

        await soon(refused)
    note(
        "budgets outlive their server",
        load="2 gateways, a day's tokens used",
        fault="redis killed, started empty",
        outcome="meanwhile by each machine; then as before",
    )


async def test_a_killed_gateway_holds_no_limit(
    tmp_path: Path, redis: RedisServer, engine: Program, note: Note
) -> None:
    limits = {"max_in_flight": 2}
    async with several(tmp_path, engine, [redis.url] * 2, limits=limits) as (a, b):
        await a.held(2)
        assert (await b.chat("echo")).json()["error"]["code"] == "max_in_flight"
        a.gateway.kill()
        killed = time.monotonic()

        async def free() -> bool:
            return (await b.chat("echo")).status_code == 200

        await soon(free)
        took_s = time.monotonic() - killed
    assert took_s < MEMBER_ALIVE_S + 4
    note(
        "a killed gateway holds no limit",
        load="2 requests at once, which are all",
        fault="one of 2 gateways killed",
        outcome="the other may have them",
        figure=f"after {took_s:.1f} s",
    )


async def test_a_gateway_that_is_cut_off_goes_on_and_tells_later(
    tmp_path: Path, redis: RedisServer, engine: Program, note: Note
) -> None:
    limits = {"requests_per_minute": 12}
    async with (
        cut(redis.port) as way,
        several(tmp_path, engine, [redis.url, way.url], timeout_ms=1000, limits=limits) as (a, b),
    ):
        way.open = False
        await soon(lambda: "is away" in b.gateway.said())
        alone = await statuses([b], 14)
        assert alone[200] >= 12, "no limit of its own is exceeded, and none is refused below it"
        assert alone[429] >= 1
        way.open = True
        await soon(lambda: b.gateway.said().rstrip().endswith("answers"))

        async def told() -> bool:
            return (await a.chat("echo")).status_code == 429

        await soon(told)
    note(
        "a gateway that is cut off goes on",
        load="12 a minute, for 2 gateways",
        fault="the way to redis cut",
        outcome="12 by itself; what it used is told once it is back",
    )
