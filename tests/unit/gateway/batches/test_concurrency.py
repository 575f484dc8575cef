"""How many lines run at once: no more than may, and each key its part."""

from __future__ import annotations

import asyncio

from gateway.batches.concurrency import Concurrency
from tests.fakes.virtual_time import run_virtual
from tests.support.waiting import turns


def test_places_are_bounded_and_given_on() -> None:
    async def work() -> None:
        places = Concurrency(2)
        async with places.turn("a"):
            await places.take("a")
            await places.take("a")
            third = asyncio.create_task(places.take("a"))
            await turns()
            assert not third.done()
            places.give_back("a")
            await third

    run_virtual(work())


def test_two_keys_share_the_places_and_one_alone_has_all() -> None:
    async def work() -> None:
        places = Concurrency(4)
        async with places.turn("a"), places.turn("b"):
            taken = [asyncio.create_task(places.take("a")) for _ in range(4)]
            await turns()
            assert sum(one.done() for one in taken) == 2  # the rest is the other's part
            await places.take("b")
            await places.take("b")
        async with places.turn("c"):
            for _ in range(4):
                await places.take("c")

    run_virtual(work())


def test_one_keys_batches_come_one_after_another() -> None:
    async def work() -> None:
        places, order = Concurrency(4), []

        async def batch(name: str) -> None:
            async with places.turn("a"):
                order.append(f"{name} begins")
                await turns()
                order.append(f"{name} ends")

        await asyncio.gather(batch("1"), batch("2"))
        assert order == ["1 begins", "1 ends", "2 begins", "2 ends"]

    run_virtual(work())


def test_wait_that_is_given_up_takes_no_place() -> None:
    async def work() -> None:
        places = Concurrency(1)
        async with places.turn("a"):
            await places.take("a")
            leaving = asyncio.create_task(places.take("a"))
            staying = asyncio.create_task(places.take("a"))
            await turns()
            leaving.cancel()
            places.give_back("a")  # in the same turn of the loop
            await staying
            assert leaving.cancelled()
            places.give_back("a")
            await places.take("a")

    run_virtual(work())
