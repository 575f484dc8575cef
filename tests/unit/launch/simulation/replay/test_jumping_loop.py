"""A loop whose clock jumps."""

from __future__ import annotations

import asyncio
import time

import pytest

from launch.simulation.replay.jumping_loop import run_jumping
from tests.fakes.virtual_time import passed


def test_an_hour_is_over_at_once() -> None:
    async def waits() -> None:
        await asyncio.gather(passed(3600), passed(1800))
        assert asyncio.get_running_loop().time() == pytest.approx(3600)

    began = time.monotonic()
    loop = run_jumping(waits())
    assert loop.now == pytest.approx(3600)
    assert time.monotonic() - began < 600


def test_where_nothing_would_go_on_it_fails() -> None:
    async def waits() -> None:
        await asyncio.Event().wait()

    with pytest.raises(AssertionError, match="nothing will wake"):
        run_jumping(waits())
