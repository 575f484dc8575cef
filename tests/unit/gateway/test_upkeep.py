"""Work in the background: what fails is told, counted and begun again; what is cancelled is not."""

from __future__ import annotations

import asyncio
import errno
import logging
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from gateway.sqlite import NewerForm
from gateway.upkeep import DAMAGED, HELD, LONGEST_PAUSE_S, MEND, SETTLED_S, Upkeep, end_tasks, mend_of
from tests.fakes.sqlite_faults import sqlite_fault

pytestmark = pytest.mark.anyio


class Faulty:
    """Fails by each of `faults` in turn, then waits for ever; `lives_s` is how long it seems to have run."""

    def __init__(self, *faults: BaseException, lives_s: float = 0.0) -> None:
        self._faults = list(faults)
        self._lives_s = lives_s
        self.now = 0.0
        self.pauses: list[float] = []
        self.failures: list[str] = []
        self.waits = asyncio.Event()
        self.upkeep = Upkeep(self.failures.append, sleep=self._sleep, clock=lambda: self.now)

    async def _sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)

    async def work(self) -> None:
        if self._faults:
            self.now += self._lives_s
            raise self._faults.pop(0)
        self.waits.set()
        await asyncio.Event().wait()


async def test_work_that_fails_is_begun_again_ever_later() -> None:
    faulty = Faulty(*(ValueError(str(number)) for number in range(12)))
    faulty.upkeep.keep("follower.report", faulty.work)
    await faulty.waits.wait()
    assert faulty.failures == ["follower.report"] * 12
    assert faulty.pauses[:4] == [0.1, 0.2, 0.4, 0.8]
    assert faulty.pauses[-1] == LONGEST_PAUSE_S
    await faulty.upkeep.stop()


async def test_work_that_went_well_for_long_begins_again_soon() -> None:
    faulty = Faulty(*(ValueError() for _ in range(4)), lives_s=SETTLED_S)
    faulty.upkeep.keep("tick", faulty.work)
    await faulty.waits.wait()
    assert faulty.pauses == [0.1] * 4
    await faulty.upkeep.stop()


async def test_failure_is_logged_with_its_trace(caplog: pytest.LogCaptureFixture) -> None:
    faulty = Faulty(ValueError("out of range"))
    with caplog.at_level(logging.ERROR, "gateway.upkeep"):
        faulty.upkeep.keep("tick", faulty.work)
        await faulty.waits.wait()
    (record,) = caplog.records
    assert record.getMessage() == "tick failed; it begins again in 0.1 s"
    assert record.exc_info is not None
    assert "out of range" in str(record.exc_info[1])
    await faulty.upkeep.stop()


@pytest.mark.parametrize(
    ("fault", "mend"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), MEND),
        (PermissionError(errno.EACCES, "Permission denied"), MEND),
        (sqlite_fault(sqlite3.SQLITE_FULL), MEND),
        (sqlite_fault(sqlite3.SQLITE_IOERR_WRITE), MEND),
        (sqlite_fault(sqlite3.SQLITE_BUSY), HELD),
        (sqlite_fault(sqlite3.SQLITE_CORRUPT), DAMAGED),
    ],
)
async def test_a_disk_that_takes_nothing_is_told_in_a_line_with_its_mend(
    caplog: pytest.LogCaptureFixture, fault: Exception, mend: str
) -> None:
    faulty = Faulty(fault, OSError(errno.EPIPE, "Broken pipe"))
    with caplog.at_level(logging.ERROR, "gateway.upkeep"):
        faulty.upkeep.keep("usage", faulty.work)
        await faulty.waits.wait()
    full, other = caplog.records
    assert full.getMessage() == f"usage failed: {fault}: {mend}; it begins again in 0.1 s"
    assert full.exc_info is None
    assert other.exc_info
    assert faulty.failures == ["usage"] * 2
    await faulty.upkeep.stop()


@pytest.mark.parametrize("fault", [OSError(errno.EPIPE, "Broken pipe"), ValueError("no"), NewerForm("2")])
def test_an_error_of_something_else_has_no_mend(fault: Exception) -> None:
    assert mend_of(fault) is None


def test_sqlite_says_what_a_file_that_is_none_of_its_own_is(tmp_path: Path) -> None:
    (tmp_path / "state").write_bytes(b"no database at all, but long enough to be looked at" * 40)
    with closing(sqlite3.connect(tmp_path / "state")) as db, pytest.raises(sqlite3.Error) as damaged:
        db.execute("SELECT * FROM task")
    with pytest.raises(sqlite3.Error) as away:
        sqlite3.connect(tmp_path / "none" / "state")
    assert (mend_of(damaged.value), mend_of(away.value)) == (DAMAGED, MEND)


async def test_cancelled_work_ends_without_a_word() -> None:
    faulty = Faulty()
    task = faulty.upkeep.keep("tick", faulty.work)
    await faulty.waits.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not faulty.failures


async def test_what_the_work_waits_for_being_cancelled_is_a_failure() -> None:
    faulty = Faulty(asyncio.CancelledError())
    faulty.upkeep.keep("tick", faulty.work)
    await faulty.waits.wait()
    assert faulty.failures == ["tick"]
    await faulty.upkeep.stop()


async def test_work_that_returns_has_ended() -> None:
    async def done() -> None:
        pass

    failures: list[str] = []
    await Upkeep(failures.append).keep("keeper", done)
    assert not failures


@pytest.mark.parametrize("fault", [ValueError, asyncio.CancelledError])
async def test_work_of_one_time_is_told_of_and_not_repeated(fault: Callable[[], BaseException]) -> None:
    faulty = Faulty(fault(), fault())
    await faulty.upkeep.once("unload", faulty.work)
    assert faulty.failures == ["unload"]
    assert not faulty.pauses


async def test_stop_ends_all_that_runs() -> None:
    faulty = Faulty()
    tasks = [faulty.upkeep.keep("tick", faulty.work), faulty.upkeep.once("unload", faulty.work)]
    await faulty.waits.wait()
    await faulty.upkeep.stop()
    assert all(task.cancelled() for task in tasks)
    assert not faulty.failures


async def test_tasks_that_are_ended_have_come_to_their_end() -> None:
    left: list[str] = []

    async def work(name: str, fault: bool = False) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            left.append(name)
            if fault:
                raise ValueError(name)

    tasks = [asyncio.create_task(work("one")), asyncio.create_task(work("other", fault=True))]
    await asyncio.sleep(0)
    await end_tasks([*tasks, None])
    assert sorted(left) == ["one", "other"]
    assert all(task.done() for task in tasks)
