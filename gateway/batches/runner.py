"""Runs batches, in that process of a store that has the lease; another takes over when it ends."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import sqlite3
import time
from functools import partial

from gateway.batches.database import Store
from gateway.batches.folder import Unreadable
from gateway.batches.job import Job, JobServices
from gateway.batches.lease import Lease
from gateway.batches.records import BatchRecord, Counts
from gateway.errors import RequestError
from gateway.metrics.counters import Metrics
from gateway.upkeep import Upkeep, end_tasks, mend_of, with_mend

logger = logging.getLogger("gateway.batches")

LOOK_EVERY_S = 0.5
"""For batches that another worker made or cancelled, and those whose time is over."""
TAKE_EVERY_S = 2.0
SWEEP_EVERY_S = 600.0
AFTER_FAULT_S = 30.0
"""A job that failed by a fault of ours, or of the disk, is begun again after so long."""
UNREADABLE_S = 600.0
"""A batch whose input or results could not be read for so long fails, unless more was done meanwhile."""
DAY_S = 24 * 3600


class Runner:
    """Use it in one event loop."""

    def __init__(self, means: JobServices, metrics: Metrics, upkeep: Upkeep) -> None:
        self._means = means
        self._upkeep = upkeep
        self._metrics = metrics
        self._jobs: dict[str, tuple[Job, asyncio.Task[None]]] = {}
        self._not_before: dict[str, float] = {}
        self._unreadable: dict[str, tuple[Counts, float]] = {}
        """Batches whose input or results could not be read: how far each was, and since when."""
        self._task: asyncio.Task[None] | None = None
        self._lease = Lease(means.library)

    @property
    def has_lease(self) -> bool:
        """Whether it is this process that runs them."""
        return bool(self._lease.holder)

    @property
    def running(self) -> int:
        """Batches that it has in hand."""
        return len(self._jobs)

    def start(self) -> None:
        self._task = self._upkeep.keep("batches", self._run)

    async def stop(self) -> None:
        """Break everything off; what is done stays done."""
        task, self._task = self._task, None
        await end_tasks([task])

    async def _run(self) -> None:
        library = self._means.library
        while True:
            try:
                with library.folder.older_kept_out() as alone:
                    if not alone:
                        library.complain(
                            "batches wait for the end of a gateway of release 0.1.0, which runs them"
                        )
                    elif await self._lease.take():
                        try:
                            await self._until_lost()
                        finally:
                            # Jobs first: who has the lease next copies their results at once.
                            await self._break_off()
                            await self._lease.give_back()
            except (OSError, RequestError) as error:
                library.complain(f"batches do not run for now: {error}")
            await asyncio.sleep(TAKE_EVERY_S)

    async def _until_lost(self) -> None:
        """Work as long as the lease is ours."""
        both = [asyncio.create_task(one) for one in (self._work(), self._lease.keep())]
        try:
            done, _ = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            for one in done:
                one.result()
        finally:
            await end_tasks(both)

    async def _work(self) -> None:
        library = self._means.library
        swept = float("-inf")
        while True:
            # Before the look: what comes during it is found by the next.
            library.news.clear()
            self._heed(await library.ask(self._look))
            if time.monotonic() - swept > SWEEP_EVERY_S:
                swept = time.monotonic()
                try:
                    await self.sweep()
                # A full disk may have no room to note what is over: that can wait, no batch is ended for it.
                except (OSError, RequestError) as error:
                    library.complain(f"what is over is not removed for now: {with_mend(error)}")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY_S):
                    await library.news.wait()

    def _look(self, store: Store) -> list[BatchRecord]:
        """In the store's own thread: what is unfinished. How far this process has come is told, and new ones
        are its; on a full disk neither, which their jobs find out for themselves.
        """
        batches, holder, counts = store.open_batches(), self._lease.holder, dict[str, Counts]()
        for batch in batches:
            job, _ = self._jobs.get(batch.id, (None, None))
            if job is not None and job.results is not None and job.results.counts != batch.counts:
                counts[batch.id] = job.results.counts
        try:
            if counts:
                store.count(holder, counts)
            if not all(batch.runner for batch in batches):
                store.take_new(holder)
                batches = store.open_batches()
        except sqlite3.Error as error:
            library = self._means.library
            where, said = library.folder.root, with_mend(error)
            library.complain(f"how far batches are cannot be told in {where}: {said}")
        return batches

    def _heed(self, batches: list[BatchRecord]) -> None:
        now, rest = self._means.library.now, 0
        for batch in batches:
            rest += batch.total - batch.completed - batch.failed
            # A job that begins now has its end before its first step where the batch has come to one.
            job, _ = self._jobs.get(batch.id) or self._begun(batch)
            if job is None:
                continue
            if batch.status == "cancelling":
                job.end("cancelled")
            elif now >= batch.expires_at:
                job.end("expired")
        self._metrics.batches(len(batches), rest)

    def _begun(self, batch: BatchRecord) -> tuple[Job | None, asyncio.Task[None] | None]:
        if self._not_before.get(batch.id, 0.0) > time.monotonic():
            return None, None
        self._not_before.pop(batch.id, None)
        _, since = self._unreadable.get(batch.id, (None, math.inf))
        job = Job(batch, self._means, self._lease.holder, time.monotonic() - since >= UNREADABLE_S)
        task = asyncio.create_task(job.run())
        self._jobs[batch.id] = job, task
        task.add_done_callback(partial(self._ended, batch.id))
        return job, task

    def _ended(self, batch_id: str, task: asyncio.Task[None]) -> None:
        job, _ = self._jobs.pop(batch_id)
        before, now = self._unreadable.pop(batch_id, None), time.monotonic()
        if not task.cancelled() and (fault := task.exception()) is not None:
            self._say_broken_off(batch_id, fault)
            self._not_before[batch_id] = now + AFTER_FAULT_S
            if isinstance(fault, Unreadable):
                done = job.results.counts if job.results else Counts()
                self._unreadable[batch_id] = before if before and before[0] == done else (done, now)

    def _say_broken_off(self, batch_id: str, fault: BaseException) -> None:
        """In a line where a disk is full; what the store could not do it has said itself."""
        text, trace = str(fault), None
        if mend := mend_of(fault):
            root, temporary = self._means.library.folder.root, "the folder of temporary files (SQLITE_TMPDIR)"
            text += f"; it is {root if isinstance(fault, OSError) else temporary}: {mend}"
        elif not isinstance(fault, RequestError):
            trace = fault
        logger.error("batch %s is broken off for %.0f s: %s", batch_id, AFTER_FAULT_S, text, exc_info=trace)

    async def _break_off(self) -> None:
        await end_tasks([task for _, task in self._jobs.values()])
        self._metrics.batches(0, 0)

    async def sweep(self) -> None:
        """Forget what is over, and remove what a kill left."""
        library = self._means.library
        folder, now = library.folder, library.now
        # Forgotten, then removed: a kill in between leaves a stray, and never a file that has no content.
        expired = await library.ask(lambda store: store.forget_expired(now))
        oldest = now - library.settings.keep_days * DAY_S
        await library.ask(lambda store: store.forget_batches(oldest))
        await asyncio.to_thread(folder.remove, *expired)
        # Before the look: what comes after it is no stray, however long this process is stopped in between.
        looked_at = await asyncio.to_thread(folder.now)
        known = await library.ask(lambda store: store.known_contents())
        strays = await asyncio.to_thread(folder.sweep, known, looked_at)
        if expired or strays:
            logger.info("removed %d files whose time was over and %d strays", len(expired), len(strays))
