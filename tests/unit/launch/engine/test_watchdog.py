"""A hang is told from a busy engine."""

from __future__ import annotations

import asyncio

import pytest

from gateway.errors import EngineFailure
from launch.engine.watchdog import Hang, Watchdog


async def never() -> None:
    await asyncio.Event().wait()


async def refused() -> None:
    raise EngineFailure("503")


class Counter:
    def __init__(self, *values: float | None) -> None:
        self.values = list(values)

    async def __call__(self) -> float | None:
        return self.values.pop(0)


async def look(probe: object, progress: Counter) -> None:
    await Watchdog(probe, progress, 0.01).look()  # type: ignore[arg-type]


def test_no_answer_and_no_token_is_a_hang() -> None:
    for counter in (Counter(5.0, 5.0), Counter(5.0, None), Counter(None, None)):
        with pytest.raises(Hang, match="had no answer"):
            asyncio.run(look(never, counter))


def test_no_answer_but_tokens_is_a_busy_engine() -> None:
    asyncio.run(look(never, Counter(5.0, 6.0)))


def test_error_is_an_answer() -> None:
    asyncio.run(look(refused, Counter(5.0)))
