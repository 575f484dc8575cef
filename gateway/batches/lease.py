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
from functools import partial

from gateway.batches.database import Store
from gateway.batches.storage import BatchStorage
from gateway.config.process import machine_id, started_ticks
from gateway.errors import Unavailable

logger = logging.getLogger("gateway.batches")

RENEW_S = 2.0
SILENT_S = 8.0
"""A holder that has not counted on for so long has lost it, whatever became of it."""
# One count in 2 s writes 355 MB a day (design 108).
IDLE_RENEW_S = 60.0
IDLE_SILENT_S = 240.0
"""The same while no batch is unfinished: each count is a write to the disk, and nobody waits for anything."""


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
        self._seen: tuple[tuple[str, int] | None, bool] = None, False
        self._since = 0.0
        self.holder = ""
        """This process's name while the lease is its; empty while it is not."""

    async def take(self) -> bool:
        """Whether it is ours now; ask again and again. Raises Unavailable."""
        found, wanted = await self._library.ask(lambda store: (store.runner(), store.has_open()))
        now = self._clock()
        if (found, wanted) != self._seen:  # who has nothing to do counts seldom, and begins now
            self._seen, self._since = (found, wanted), now
        free = found is None or self._is_gone(found[0])
        silent_s = SILENT_S if wanted else IDLE_SILENT_S
        if not free and now - self._since < silent_s:
            return False
        holder = new_holder()
        if not await self._library.ask(lambda store: store.claim(holder, found)):
            return False
        if found is not None:
            how = "has ended" if free else f"has said nothing for {silent_s:.0f} s"
            logger.warning("the process that ran batches %s; this one goes on with them", how)
        self.holder = holder
        return True

    async def keep(self) -> None:
        """Say that we live, until another has it. A store that cannot be written meanwhile is no end."""
        last = self._clock()
        while True:
            await asyncio.sleep(RENEW_S)
            said = partial(self._said, due=self._clock() - last >= IDLE_RENEW_S)
            with suppress(Unavailable):
                still, counted = await self._library.ask(said)
                if not still:
                    logger.warning("another process has gone on with the batches; this one breaks off")
                    return
                last = self._clock() if counted else last

    def _said(self, store: Store, due: bool) -> tuple[bool, bool]:
        """Whether it is ours still, and whether that was counted: where there is work, or it is `due`."""
        if due or store.has_open():
            return store.still_runs(self.holder), True
        found = store.runner()
        return found is not None and found[0] == self.holder, False

    async def give_back(self) -> None:
        """For the next to take at once."""
        holder, self.holder = self.holder, ""
        with suppress(Unavailable):
            await self._library.ask(lambda store: store.leave(holder))
