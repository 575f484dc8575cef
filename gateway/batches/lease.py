"""Who runs the batches of a store: one process, as long as it says so; the store itself keeps the word.

Whoever can write a result can write here too, so that nothing else has to be there. Nobody's clock is
compared with another's: a holder counts on, and who waits has seen the same count for too long by its own
clock. A holder that is taken for gone and is not can do no harm: it has no batch any more
(`Store.take_over`).
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import time
from collections.abc import Callable
from contextlib import suppress

from gateway.batches.storage import BatchStorage
from gateway.config.process import machine_id, started_ticks
from gateway.errors import Unavailable

logger = logging.getLogger("gateway.batches")

RENEW_S = 2.0
SILENT_S = 8.0
"""A holder that has not counted on for so long has lost it, whatever became of it."""


def new_holder() -> str:
    """This process as a holder: a name that is never given twice, and by which it can be looked for."""
    pid = os.getpid()
    return f"{machine_id()}/{pid}/{started_ticks(pid)}/{secrets.token_hex(4)}"


def is_gone(holder: str) -> bool:
    """Whether its process has ended, as far as that can be seen from here."""
    machine, pid, started, _ = holder.split("/")
    return bool(machine) and machine == machine_id() and str(started_ticks(int(pid))) != started


class Lease:
    """One process's side; use it in one event loop."""

    def __init__(
        self,
        library: BatchStorage,
        *,
        clock: Callable[[], float] = time.monotonic,
        is_gone: Callable[[str], bool] = is_gone,
    ) -> None:
        self._library = library
        self._clock = clock
        self._is_gone = is_gone
        self._seen: tuple[str, int] | None = None
        self._since = 0.0
        self.holder = ""
        """This process's name while the lease is its; empty while it is not."""

    async def take(self) -> bool:
        """Whether it is ours now; ask again and again. Raises Unavailable."""
        found = await self._library.ask(lambda store: store.runner())
        now = self._clock()
        if found != self._seen:
            self._seen, self._since = found, now
        free = found is None or self._is_gone(found[0])
        if not free and now - self._since < SILENT_S:
            return False
        holder = new_holder()
        if not await self._library.ask(lambda store: store.claim(holder, found)):
            return False
        if found is not None:
            how = "has ended" if free else f"has said nothing for {SILENT_S:.0f} s"
            logger.warning("the process that ran batches %s; this one goes on with them", how)
        self.holder = holder
        return True

    async def keep(self) -> None:
        """Say that we live, until another has it. A store that cannot be written meanwhile is no end."""
        while True:
            await asyncio.sleep(RENEW_S)
            with suppress(Unavailable):
                if not await self._library.ask(lambda store: store.still_runs(self.holder)):
                    logger.warning("another process has gone on with the batches; this one breaks off")
                    return

    async def give_back(self) -> None:
        """For the next to take at once."""
        holder, self.holder = self.holder, ""
        with suppress(Unavailable):
            await self._library.ask(lambda store: store.leave(holder))
