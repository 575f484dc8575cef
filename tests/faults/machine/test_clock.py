"""The wall clock jumps: nobody is let in or kept out for longer than a minute by it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.faults.conftest import Note
from tests.faults.processes import Served, served

pytestmark = pytest.mark.anyio
HOOK = Path(__file__).parent / "clock"
A_MINUTE = 6
DAY_S = 86400.0

SetBy = Callable[[float], None]


@asynccontextmanager
async def with_clock(folder: Path) -> AsyncIterator[tuple[Served, SetBy]]:
    """And what sets the gateway's clock by so many seconds."""
    offset = folder / "offset"

    def set_by(seconds: float) -> None:
        fresh = offset.with_suffix(".new")
        fresh.write_text(str(seconds))
        fresh.replace(offset)

    set_by(0)
    env = {"PYTHONPATH": str(HOOK), "CLOCK_OFFSET": str(offset)}
    async with served(folder, {"env": env}, limits={"requests_per_minute": A_MINUTE}) as s:
        yield s, set_by


async def use_up(s: Served) -> None:
    """Until the minute's allowance is spent."""
    statuses = [(await s.chat("echo x")).status_code for _ in range(A_MINUTE + 2)]
    assert statuses[0] == 200
    assert statuses[-1] == 429


@pytest.mark.parametrize("jump_s", [-DAY_S, DAY_S], ids=["back", "on"])
async def test_a_jump_of_the_clock_keeps_nobody_out(tmp_path: Path, note: Note, jump_s: float) -> None:
    async with with_clock(tmp_path) as (s, set_by):
        (stream,) = await s.held(1)
        await use_up(s)
        set_by(jump_s)
        assert (await s.chat("echo x")).status_code == 200
        await use_up(s)
        refused = await s.chat("echo x")
        assert 0 < int(refused.headers["retry-after"]) <= 60
        await s.told(go=True)
        assert b"[DONE]" in await stream.readuntil(b"[DONE]\n\n")
    note(
        "a jump of the clock keeps nobody out",
        load="1 client at its limit, a stream",
        fault=f"clock set by {jump_s / DAY_S:+.0f} day",
        outcome="the limit goes on, the stream ends whole",
    )


async def test_a_small_step_back_gives_nothing_away(tmp_path: Path, note: Note) -> None:
    async with with_clock(tmp_path) as (s, set_by):
        await use_up(s)
        set_by(-2.0)
        assert (await s.chat("echo x")).status_code == 429
    note(
        "a jump of the clock keeps nobody out",
        load="1 client at its limit",
        fault="clock set back by 2 s",
        outcome="the limit holds",
    )
