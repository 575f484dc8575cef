"""What a worker has counted, brought to the file once a second."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

from gateway.metrics.counters import Metrics
from gateway.metrics.ledger import Ledger
from gateway.usage.database import UsageDatabase

logger = logging.getLogger("gateway.usage")

WRITTEN_EVERY_S = 1.0
"""What a process that is killed may lose, and what a request at midnight may count for the other day."""

TenantOf = Callable[[str], str]


class UsageWriter:
    """One worker's. What cannot be written is kept, and goes with the next."""

    def __init__(
        self,
        metrics: Metrics,
        state_dir: Path,
        tenant_of: TenantOf,
        *,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`tenant_of` a key's name; empty for none. Nothing is opened before there is something to write."""
        self._metrics = metrics
        self._state_dir = state_dir
        self._tenant_of = tenant_of
        self._sleep = sleep
        self._now = now
        self._since = now()
        self._database: UsageDatabase | None = None
        # One thread: SQLite lets no other use the database's connection.
        self._thread = ThreadPoolExecutor(1, "usage")
        self._writing: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Write every second, for as long as it is not cancelled. Raises sqlite3.Error, OSError."""
        while True:
            await self._sleep(WRITTEN_EVERY_S)
            await self.flush()

    async def flush(self) -> None:
        """Everything that was counted until now is on the disk. Raises sqlite3.Error, OSError.

        Cancelled, it is written all the same, and the next call waits for that.
        """
        while self._writing is not None:
            await asyncio.wait({self._writing})
        self._writing = asyncio.create_task(self._write())
        await asyncio.shield(self._writing)

    async def stop(self) -> None:
        """Write the rest and close; what cannot be written now is lost, and logged."""
        try:
            await self.flush()
        except (sqlite3.Error, OSError) as error:
            logger.error("%d accounts' last usage cannot be written: %s", len(self._metrics.ledger), error)
        finally:
            if self._database is not None:
                await asyncio.get_running_loop().run_in_executor(self._thread, self._database.close)
            self._thread.shutdown(wait=False)

    async def _write(self) -> None:
        # In one step of the loop: a request that ends while the thread writes counts for the next second.
        taken, day = self._metrics.take_ledger(), day_of(self._since)
        self._since = self._now()
        tenants = {key: self._tenant_of(key) for key, _, _ in taken}
        try:
            if taken:
                loop = asyncio.get_running_loop()
                await loop.run_in_executor(self._thread, self._add, day, taken, tenants)
        except BaseException:
            # With what has come since, and then for the day of the next try.
            self._metrics.ledger.add(taken)
            raise
        finally:
            self._writing = None
        # Not before they are on the disk: what is scraped and what is asked of the file agree.
        for (key, _, _), figures in taken.items():
            self._metrics.used(key, tenants[key], figures)

    def _add(self, day: str, taken: Ledger, tenants: Mapping[str, str]) -> None:
        if self._database is None:
            self._database = UsageDatabase(self._state_dir)
        self._database.add(
            (day, account[0], tenants[account[0]], *account[1:], *figures)
            for account, figures in taken.items()
        )


def day_of(unix_s: float) -> str:
    """The day in UTC of a moment in Unix seconds, as `2026-11-28`."""
    return datetime.fromtimestamp(unix_s, UTC).date().isoformat()
