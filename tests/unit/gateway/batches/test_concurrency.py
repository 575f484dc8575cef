"""How many lines run at once: no more than may, and each key its part."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack

import pytest

from gateway.admission.turns.fair_turns import Whose, whose_of
from gateway.batches.concurrency import Concurrency
from tests.fakes.virtual_time import virtual
from tests.support.waiting import turns

A, B, C = (whose_of("", key) for key in "abc")
ONE, *OTHERS = whose_of("small", "one"), *(whose_of("large", f"key-{number}") for number in range(8))


@virtual
async def test_places_are_bounded_and_given_on() -> None:
    places = Concurrency(2)
    async with places.turn(A):
        await places.take(A)
        await places.take(A)
        third = asyncio.create_task(places.take(A))
        await turns()
        assert not third.done()
        places.give_back(A)
        await third


@virtual
async def test_two_keys_share_the_places_and_one_alone_has_all() -> None:
    places = Concurrency(4)
    async with places.turn(A), places.turn(B):
        taken = [asyncio.create_task(places.take(A)) for _ in range(4)]
        await turns()
        assert sum(one.done() for one in taken) == 2  # the rest is the other's part
        await places.take(B)
        await places.take(B)
    async with places.turn(C):
        for _ in range(4):
            await places.take(C)


@virtual
async def test_a_tenant_with_many_keys_has_no_more_than_one_with_a_single_key() -> None:
    places, taken = Concurrency(8), Counter[str]()

    async def take(whose: Whose) -> None:
        await places.take(whose)
        taken[whose[0]] += 1

    async with AsyncExitStack() as held:
        for whose in (*OTHERS, ONE):
            await held.enter_async_context(places.turn(whose))
        tasks = [asyncio.create_task(take(whose)) for whose in (*OTHERS, ONE) for _ in range(8)]
        await turns()
        assert taken == {"large": 4, "small": 4}
        assert sum(task.done() for task in tasks) == 8
        places.give_back(ONE)
        places.give_back(OTHERS[0])
        await turns()
        assert taken == {"large": 5, "small": 5}  # each to whoever of them has fewest
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize("neighbours", [1, 8])
@virtual
async def test_ten_lines_end_soon_beside_a_hundred_thousand(neighbours: int) -> None:
    places, running, ended = Concurrency(4), list[Whose](), Counter[Whose]()
    over = asyncio.Event()

    async def batch(whose: Whose, lines: int) -> None:
        async with places.turn(whose):
            for _ in range(lines):
                await places.take(whose)
                running.append(whose)
            await over.wait()

    async def round_of_lines() -> None:
        """Those that run come to their end together."""
        await turns()
        assert len(running) == 4
        for whose in running[:]:
            running.remove(whose)
            ended[whose] += 1
            places.give_back(whose)

    tasks = [asyncio.create_task(batch(whose, 100_000)) for whose in OTHERS[:neighbours]]
    await round_of_lines()
    tasks.append(asyncio.create_task(batch(ONE, 10)))
    for _ in range(1 + 10 // 2):  # the first finds all places taken
        await round_of_lines()
    assert ended[ONE] == 10
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@virtual
async def test_one_keys_batches_come_one_after_another() -> None:
    places, order = Concurrency(4), []

    async def batch(name: str) -> None:
        async with places.turn(A):
            order.append(f"{name} begins")
            await turns()
            order.append(f"{name} ends")

    await asyncio.gather(batch("1"), batch("2"))
    assert order == ["1 begins", "1 ends", "2 begins", "2 ends"]
    assert not places._turns  # of a key whose batches have ended nothing is kept


@virtual
async def test_wait_that_is_given_up_takes_no_place() -> None:
    places = Concurrency(1)
    async with places.turn(A):
        await places.take(A)
        leaving = asyncio.create_task(places.take(A))
        staying = asyncio.create_task(places.take(A))
        await turns()
        leaving.cancel()
        places.give_back(A)  # in the same turn of the loop
        await staying
        assert leaving.cancelled()
        places.give_back(A)
        await places.take(A)
