"""Text that a client takes more slowly than it is made."""

from __future__ import annotations

import asyncio
import math

import pytest

from gateway.pipeline.outlet import Outlet
from tests.support.waiting import turns

pytestmark = pytest.mark.anyio


async def test_text_is_not_made_faster_than_it_is_taken() -> None:
    outlet, made = Outlet(most_chars=4), list[int]()

    def make(number: int) -> str:
        made.append(number)
        return f"<{number}>"

    async def write(number: int) -> None:
        await outlet.write(lambda: make(number))

    async with asyncio.TaskGroup() as group:
        for number in range(8):
            group.create_task(write(number))
        await turns(20)
        assert made == [0, 1, 2]  # the third waits with its text
        assert [await outlet.read() for _ in range(8)] == [f"<{number}>" for number in range(8)]
    outlet.end()
    assert await outlet.read() is None


async def test_what_nobody_reads_on_the_way_is_there_whole() -> None:
    outlet = Outlet(most_chars=math.inf)
    for _ in range(100):
        await outlet.write(lambda: "x" * 1024)
    assert outlet.take() == "x" * 102_400
