"""Two gateways of one deployment and a real Redis: frozen, killed, empty again; then a gateway is killed."""

from __future__ import annotations

import asyncio
import hashlib
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from tests.fakes.plant import free_port
from tests.faults.conftest import Note
from tests.faults.processes import Program, gateway_program, program, soon
from tests.faults.promises import median_ms
from tests.faults.redis.several import needs_redis
from tests.faults.traffic import LOST, Seen, one_of, traffic
from tests.scale.deployment import Deployment, deployed, written_for_two
from tests.support.real.redis_server import RedisServer
from tests.support.waiting import eventually

pytestmark = [pytest.mark.anyio, needs_redis]

FROZEN_S = 10.0
GONE_S = 3.0
A_MINUTE = 60
TASKS = ("naming", "linking")
KEYS = {
    "steady": {"requests_per_minute": 1_000_000, "max_in_flight": 64},
    "bounded": {"requests_per_minute": A_MINUTE},
}
"""Each key's limits; its text is its name. Who has the first keeps to them, who has the second does not."""
CLIENTS = 3
"""Of each task at each gateway."""
GREEDY = 2
"""At each gateway, beside those of each task; enough that both would have more than one limit allows."""
ENOUGH = 100


@pytest.fixture
def engines(tmp_path: Path) -> Iterator[list[str]]:
    """The addresses of two fake engines that nobody here starts again."""
    ports = [free_port(), free_port()]
    argv = [["tests.fakes.fake_vllm", "--port", str(port), "--takes-ms", "50"] for port in ports]
    first, second = (tmp_path / f"engine-{port}.log" for port in ports)
    with program(argv[0], first, wait=False), program(argv[1], second, wait=False):
        yield [f"http://127.0.0.1:{port}" for port in ports]


@asynccontextmanager
async def loaded(running: Deployment, gateway: Program) -> AsyncIterator[tuple[list[Seen], Seen]]:
    """Clients of both tasks, each answer told from the other task's, and one with the small limit."""
    async with AsyncExitStack() as held:

        async def of(task: str, key: str, clients: int) -> Seen:
            right = one_of(running.ids(task))
            ask = traffic(gateway.url, task, right, clients=clients, key=key)
            return await held.enter_async_context(ask)

        steady = [await of(task, "steady", CLIENTS) for task in TASKS]
        yield steady, await of("naming", "bounded", GREEDY)


def right(seen: Iterable[Seen]) -> int:
    return sum(one.outcomes["right"] for one in seen)


async def until_more(seen: list[Seen]) -> None:
    """Each has so many more right answers."""
    before = [one.outcomes["right"] for one in seen]
    await eventually(
        lambda: all(one.outcomes["right"] > was + ENOUGH for one, was in zip(seen, before, strict=True)), 60
    )


async def test_two_gateways_outlive_their_redis_and_one_another(
    tmp_path: Path, redis: RedisServer, engines: list[str], note: Note
) -> None:
    digests = {name: hashlib.sha256(name.encode()).hexdigest() for name in KEYS}
    keys = {name: {"sha256": digests[name], "limits": limits} for name, limits in KEYS.items()}
    elsewhere = written_for_two(tmp_path, TASKS, engines, keys, redis.url)
    with deployed(tmp_path) as running, gateway_program(elsewhere) as other:
        gateways = [running.gateway, other]
        await running.until_ready(2)
        await soon(lambda: all("shared: redis://" in one.said() for one in gateways))
        began = time.monotonic()
        async with loaded(running, running.gateway) as (here, greedy_here):
            async with loaded(running, other) as (there, greedy_there):
                steady, greedy = [*here, *there], [greedy_here, greedy_there]
                await until_more(steady)
                together, asked_s = right(greedy), time.monotonic() - began
                assert not any("is away" in one.said() for one in gateways)
                assert together <= A_MINUTE + asked_s * A_MINUTE / 60, "one limit for both"

                redis.signal(signal.SIGSTOP)
                await asyncio.sleep(FROZEN_S)
                assert all("is away" in one.said() for one in gateways)
                redis.kill()
                await asyncio.sleep(GONE_S)
                redis.start()
                back = time.monotonic()
                await soon(lambda: all(one.said().rstrip().endswith("answers") for one in gateways))
                back_s = time.monotonic() - back
                await until_more(steady)
                other.kill()
                await until_more(here)
            all_s = time.monotonic() - began
            each = [one.outcomes["right"] for one in greedy]
            with gateway_program(elsewhere, name="again") as again:
                async with loaded(running, again) as (fresh, _):
                    await until_more(fresh)
        everyone = [*steady, *greedy, *fresh]
    assert [one.wrong for one in everyone if one.wrong] == []
    assert [one.refused for one in [*here, *fresh]] == [{}] * 4
    assert all(set(one.refused) == {LOST} for one in there), [one.refused for one in there]
    assert max(each) <= A_MINUTE + all_s * A_MINUTE / 60, "each by itself keeps to the limit at all times"
    refused = Counter[str]()
    for one in greedy:
        refused.update(one.refused)
    assert set(refused) == {"429 requests_per_minute", LOST}
    took = [time_s for one in [*here, *there] for time_s in one.took_s]
    note(
        "two gateways outlive their Redis and one another",
        load=f"2 tasks, {len(steady) * CLIENTS} clients within their limit, {2 * GREEDY} beyond it, "
        f"{right(everyone)} right, 0 wrong",
        fault=f"redis frozen {FROZEN_S:.0f} s, killed, empty {GONE_S:.0f} s later; SIGKILL to one gateway",
        outcome=f"none refused at the other, nor at one that is started again; "
        f"{refused['429 requests_per_minute']} x 429 beyond the limit",
        figure=f"{together} of {A_MINUTE} a minute in {asked_s:.1f} s, "
        f"{each[0]} and {each[1]} in all of {all_s:.0f} s; "
        f"{median_ms(took)}, longest gap {max(one.longest_gap_s() for one in here):.2f} s; "
        f"redis found {back_s:.1f} s after its start",
    )
