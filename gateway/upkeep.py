"""Tasks that run as long as their process: one that fails is logged, counted and begun again.

A task of asyncio's that ends by an exception says so when it is collected, if ever; what it did is not done
any more, and everything else goes on as if it were.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import sqlite3
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable

logger = logging.getLogger("gateway.upkeep")

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 30.0
SETTLED_S = 60.0
"""Work that went well for so long begins with the shortest pause again."""

REFUSED = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.EACCES, errno.EPERM}
)
MEND = "make room there, or mend rights"
HELD = "another process holds it, which may stand still: end that one, or wait"
DAMAGED = "it is damaged: put a copy back, or move it away, and it is begun anew"
_OF_SQLITE = {
    **dict.fromkeys((sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY), MEND),
    **dict.fromkeys((sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH), MEND),
    **dict.fromkeys((sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED), HELD),
    **dict.fromkeys((sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR), DAMAGED),
}  # ERROR: "no such table", of a file that is not what it was

Work = Callable[[], Coroutine[object, object, None]]


class Upkeep:
    """Use it in one event loop; nothing runs before the first `keep` or `once`."""

    def __init__(
        self,
        on_failure: Callable[[str], None],
        *,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`on_failure` counts a failure under the work's name."""
        self._on_failure = on_failure
        self._sleep = sleep
        self._clock = clock
        self._tasks: set[asyncio.Task[None]] = set()

    def keep(self, name: str, work: Work) -> asyncio.Task[None]:
        """Run `work` until the task is cancelled, again after each failure; work that returns has ended."""
        return self._started(name, self._again(name, work))

    def once(self, name: str, work: Work) -> asyncio.Task[None]:
        """Run `work` one time; a failure is logged and counted, and nobody need await it."""
        return self._started(name, self._one_time(name, work))

    async def stop(self) -> None:
        """Cancel everything that still runs, and wait for its end."""
        await end_tasks(self._tasks)

    def _started(self, name: str, running: Coroutine[object, object, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(running, name=name)
        self._tasks.add(task)  # the loop itself keeps none alive
        task.add_done_callback(self._tasks.discard)
        return task

    async def _one_time(self, name: str, work: Work) -> None:
        try:
            await work()
        except (Exception, asyncio.CancelledError) as error:
            _raise_where_cancelled(error)
            self.failed(name, error, "it is not tried again")

    async def _again(self, name: str, work: Work) -> None:
        pause_s = 0.0
        while True:
            began = self._clock()
            try:
                return await work()
            except (Exception, asyncio.CancelledError) as error:
                _raise_where_cancelled(error)
                settled = not pause_s or self._clock() - began >= SETTLED_S
                pause_s = FIRST_PAUSE_S if settled else min(2 * pause_s, LONGEST_PAUSE_S)
                self.failed(name, error, f"it begins again in {pause_s:.1f} s")
            await self._sleep(pause_s)

    def failed(self, name: str, error: BaseException, then: str) -> None:
        """Log and count what a task has survived by itself; `then` says how it goes on."""
        if mend := mend_of(error):
            logger.error("%s failed: %s: %s; %s", name, error, mend, then)
        else:
            logger.error("%s failed; %s", name, then, exc_info=error)
        self._on_failure(name)


def mend_of(error: BaseException) -> str | None:
    """What to do where a disk takes nothing, or a database is held or damaged: no fault of the work's, so
    that no trace would tell more than a line. None for any other error.
    """
    if isinstance(error, OSError):
        return MEND if error.errno in REFUSED else None
    if not isinstance(error, sqlite3.Error):
        return None
    code: int = getattr(error, "sqlite_errorcode", -1)
    return _OF_SQLITE.get(code & 0xFF)  # what is above says more of the same


def with_mend(error: BaseException) -> str:
    """Its text, and what to do where that is known."""
    mend = mend_of(error)
    return f"{error}; {mend}" if mend else str(error)


async def end_tasks(tasks: Iterable[asyncio.Task[object] | None]) -> None:
    """Cancel those that still run, and wait for the end of all; what they raised is passed over."""
    ending = [*filter(None, tasks)]
    for task in ending:
        task.cancel()
    await asyncio.gather(*ending, return_exceptions=True)


def _raise_where_cancelled(error: BaseException) -> None:
    """That what the work awaited was cancelled is a failure like any other; that its task was is none."""
    task = asyncio.current_task()
    if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
        raise error
