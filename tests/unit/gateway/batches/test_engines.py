"""Lines wait while there is no engine, and take one place in the waiting room for all."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

from gateway.batches.engines import LOOK_S, Engines
from tests.fakes.virtual_time import now, virtual
from tests.support.waiting import turns


class Replicas:
    def __init__(self) -> None:
        self.ready = self.has = False
        self.table = {"naming": "a route"}
        self.news = asyncio.Event()

    def servable(self, model: str) -> bool:
        return self.has

    def tell(self) -> None:
        news, self.news = self.news, asyncio.Event()
        news.set()


def engines() -> tuple[Engines, Replicas, SimpleNamespace]:
    replicas, room = Replicas(), SimpleNamespace(waiting=0, wanted=asyncio.Event())
    return Engines(cast(Any, replicas), cast(Any, room)), replicas, room


@virtual
async def test_lines_wait_for_news_and_take_one_place() -> None:
    made, replicas, room = engines()
    waiting = [asyncio.create_task(made.until_servable("naming")) for _ in range(3)]
    await turns()
    assert (room.waiting, room.wanted.is_set()) == (1, True)
    replicas.tell()  # of something else
    await turns()
    assert not any(one.done() for one in waiting)
    replicas.has = True
    replicas.tell()
    await asyncio.gather(*waiting)
    assert room.waiting == 0


@virtual
async def test_what_nobody_announces_is_looked_at() -> None:
    made, replicas, _ = engines()
    waiting = asyncio.create_task(made.until_servable("naming"))
    await turns()
    replicas.has = True
    await waiting
    assert 0 < now() <= LOOK_S


@virtual
async def test_engine_that_is_there_without_the_model_and_a_name_of_nobody_are_not_waited_for() -> None:
    made, replicas, room = engines()
    await made.until_servable("nobody")
    replicas.ready = True
    await made.until_servable("naming")
    assert (room.waiting, now()) == (0, 0.0)


@virtual
async def test_line_that_leaves_gives_its_place_back() -> None:
    made, _, room = engines()
    waiting = asyncio.create_task(made.until_servable("naming"))
    await turns()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert room.waiting == 0
