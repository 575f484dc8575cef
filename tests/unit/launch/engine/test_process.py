"""One process of an engine: what is awaited of it while it lives, and what is said when it does not."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.config.document import Config
from launch.engine.process import Died, Process, child_of
from launch.machine.orphans import SUFFIX

pytestmark = pytest.mark.anyio

WAITS = "import sys; print('up', flush=True); sys.stdin.read(); import signal; signal.pause()"


def config_of(folder: Path) -> Config:
    document = {"base": {"model": "m"}, "engine": {"stop_timeout_s": 5}, "state_dir": str(folder)}
    return Config.model_validate(document)


@asynccontextmanager
async def running(folder: Path, program: str) -> AsyncIterator[tuple[Process, asyncio.Event]]:
    """With an event that its first line sets."""
    up, loop = asyncio.Event(), asyncio.get_running_loop()

    def heard(_: str) -> None:
        loop.call_soon_threadsafe(up.set)

    begin = child_of([sys.executable, "-c", program], os.environ, "engine")
    process = Process(config_of(folder), "engine-0", begin, heard)
    try:
        yield process, up
    finally:
        await process.end(hard=True, hurry=lambda: False)


def never() -> bool:
    return False


async def test_what_is_awaited_comes_and_nothing_is_left_at_the_end(tmp_path: Path) -> None:
    async with running(tmp_path, WAITS) as (process, up):
        assert await process.while_it_lives(up.wait(), never) is True
        assert (tmp_path / f"engine-0{SUFFIX}").exists()
        pid = process.pid
    assert not (tmp_path / f"engine-0{SUFFIX}").exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.parametrize(
    ("served", "hard", "waited_s"), [(False, False, 0.2), (True, False, 5), (True, True, 0)]
)
async def test_one_that_never_served_has_little_time_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, served: bool, hard: bool, waited_s: float
) -> None:
    monkeypatch.setattr("launch.engine.process.START_STOP_S", 0.2)
    given: list[float] = []
    async with running(tmp_path, WAITS) as (process, _):
        process.served = served
        with monkeypatch.context() as patch:
            patch.setattr(process._running, "stop", lambda timeout_s, _: given.append(timeout_s))
            await process.end(hard=hard, hurry=never)
    assert given == [waited_s]


async def test_a_halt_ends_the_wait_with_nothing(tmp_path: Path) -> None:
    async with running(tmp_path, WAITS) as (process, up):
        await process.while_it_lives(up.wait(), never)
        assert await process.while_it_lives(asyncio.Event().wait(), lambda: True) is None


async def test_a_start_that_takes_too_long_names_the_setting(tmp_path: Path) -> None:
    told: list[float] = []
    async with running(tmp_path, WAITS) as (process, _):
        with pytest.raises(Died, match=r"not ready after 0 s.*start_timeout_s") as died:
            await process.while_it_lives(asyncio.Event().wait(), never, limit_s=0.05, report=told.append)
    assert died.value.kind == "start"
    assert all(took_s <= 0.05 for took_s in told)


@pytest.mark.parametrize(("served", "kind"), [(False, "start"), (True, "crash")])
async def test_an_end_of_its_own_is_told_with_its_last_words(tmp_path: Path, served: bool, kind: str) -> None:
    async with running(tmp_path, "import sys; sys.exit('ValueError: no such shape')") as (process, _):
        process.served = served
        with pytest.raises(Died, match=r"the engine died: .*no such shape") as died:
            await process.while_it_lives(asyncio.Event().wait(), never)
    assert died.value.kind == kind


async def test_a_program_that_is_not_there_is_a_failed_start(tmp_path: Path) -> None:
    with pytest.raises(Died, match="cannot be started") as died:
        Process(config_of(tmp_path), "engine-0", child_of([str(tmp_path / "none")], {}, ""), print)
    assert died.value.kind == "start"
