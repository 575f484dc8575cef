"""One batch from its validation to its files. Whenever it is broken off, another job goes on with it."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import logging
from collections.abc import AsyncGenerator, Awaitable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from gateway.admission.api_keys import Keys
from gateway.admission.turns.fair_turns import Whose, whose_of
from gateway.batches.attempts import Attempts
from gateway.batches.concurrency import Concurrency
from gateway.batches.database import Store
from gateway.batches.folder import Unreadable, reading
from gateway.batches.input_lines import Flaw, LineReader, read_line
from gateway.batches.records import OPEN, BatchRecord, Counts, FileRecord, Status, new_file_id
from gateway.batches.results import LineResult, Results, answered, not_asked
from gateway.batches.storage import BatchStorage
from gateway.batches.validation import validate
from gateway.batches.writer import TRY_AGAIN_S, Writer
from gateway.errors import Unauthorized
from gateway.routing.permission import permitted_route
from gateway.routing.replicas import Replicas
from gateway.upkeep import end_tasks

logger = logging.getLogger("gateway.batches")

Ending = Literal["expired", "cancelled"]
REST = {
    "expired": (
        "batch_expired",
        "This request could not be executed before the completion window expired.",
    ),
    "cancelled": ("batch_cancelled", "The batch was cancelled before this request was executed."),
}

VALIDATED_BYTES = 1 << 40
"""No bound on a line: all were held to the one of then, and one that is lower by now may lose none."""


@dataclass(frozen=True, slots=True)
class JobServices:
    """What every job of a runner works with."""

    library: BatchStorage
    keys: Keys
    replicas: Replicas
    attempts: Attempts
    places: Concurrency
    most_line_bytes: int
    looking: asyncio.Semaphore = field(init=False, default_factory=lambda: asyncio.Semaphore(1))
    """Of whose file is looked through: a key may have many, and of one at a time clients notice nothing."""


class Job:
    """`run` it in a task; cancelling that breaks it off, `end` brings it to another end."""

    def __init__(self, batch: BatchRecord, means: JobServices, runner: str, last_try: bool = False) -> None:
        """`last_try`: where its input or results cannot be read, it ends; else `run` raises Unreadable."""
        self.batch = batch
        self._last_try = last_try
        self._unreadable: Unreadable | None = None
        """Of the results that another left, which are taken over as far as they can be read."""
        self._errors: str | None = None
        self._runner = runner
        self._means = means
        self._input = means.library.folder.content(batch.input_file)
        self._ending: Ending | None = None
        self._ended = asyncio.Event()
        """It was brought to another end."""
        self._feeding: asyncio.Task[None] | None = None
        self.results: Results | None = None
        """Of its lines, once they run."""

    def end(self, ending: Ending) -> None:
        """What is done stays, and the rest is listed as not run."""
        if self._ending is None:
            self._ending = ending
            self._ended.set()
            if self._feeding is not None:
                self._feeding.cancel()

    async def run(self) -> None:
        if self.batch.runner != self._runner and not await self._taken_over():
            logger.info("batch %s is another process's by now, or at its end", self.batch.id)
            return
        batch, content = self.batch, self._means.library.folder.content
        results = Results(batch.id, content(batch.output_file), content(batch.error_file))
        try:
            # It was validated by whoever ran it before: its files, not the store, say which lines are done.
            if batch.in_progress_at is not None:
                await asyncio.to_thread(results.take_over)
                if self._unreadable is not None:
                    raise self._unreadable
            elif not await self._validated():
                return
            # Not before they are read: the runner tells the store these counts, half of them too.
            self.results = results
            await self._run_lines(results)
            await self._conclude(results)
        except FileNotFoundError as error:
            logger.error("batch %s: its input is gone: %s", self.batch.id, error)
            self._errors = _listed([Flaw("input_lost", "The input file is gone.")])
            await self._conclude(results)
        except Unreadable as error:
            if not self._may_end:
                raise
            code, what = "input_unreadable", "input"
            if error.filename != str(self._input):
                code, what = "results_unreadable", "results"
            logger.error("batch %s ends, its %s cannot be read: %s", self.batch.id, what, error)
            # What is done stays, as far as it can be read; the rest cannot be listed.
            self._errors = _listed([Flaw(code, f"The {what} cannot be read: {error.strerror}.")])
            results.close()
            await self._conclude(results)

    @property
    def _may_end(self) -> bool:
        """Whether what cannot be read is its end."""
        return self._last_try or self._ending is not None

    async def _taken_over(self) -> bool:
        """Have another's batch be this runner's, with copies of the results that another left.

        Files that the other may still have open are written to by nobody else: it may only be slow, or have
        been stopped, and go on where it was.
        """
        library, before = self._means.library, self.batch
        folder = library.folder
        fresh = dataclasses.replace(before, runner=self._runner)
        pairs: list[tuple[str, str]] = []
        if before.runner:
            fresh = dataclasses.replace(fresh, output_file=new_file_id(), error_file=new_file_id())
            pairs = [(before.output_file, fresh.output_file), (before.error_file, fresh.error_file)]
        try:
            for old, new in pairs:
                unreadable = await asyncio.to_thread(folder.copy, old, new)
                if unreadable is not None and not self._may_end:
                    raise unreadable
                self._unreadable = unreadable or self._unreadable
            if pairs:
                await asyncio.to_thread(folder.sync_names)
        except OSError:  # tried again under other names: on a full disk these would take the room for that
            await asyncio.to_thread(folder.remove, *(new for _, new in pairs))
            raise
        # Last: a kill before it leaves the batch as it was, and copies that the next sweep removes.
        taken = await library.ask(lambda store: store.take_over(before, fresh))
        for old, new in pairs:
            await asyncio.to_thread(folder.remove, old if taken else new)
        self.batch = fresh
        return taken

    # Its validation.

    async def _validated(self) -> bool:
        """Whether it is in progress now."""
        means = self._means
        with reading(self._input):
            verdict = await validate(
                self._input,
                self.batch.endpoint,
                self._check_model,
                most_lines=means.library.settings.max_lines,
                most_line_bytes=means.most_line_bytes,
                turns=means.looking,
                given_up=self._ended.is_set,
            )
        if self._ending is None:
            if verdict.flaws:
                await self._fail(verdict.listed())
                return False
            if await self._move(("validating",), "in_progress", total=verdict.total):
                return True
            self.end("cancelled")  # in the meantime; not a line has been run
        await self._conclude()
        return False

    def _check_model(self, model: str) -> None:
        permitted_route(self._means.replicas.table, self._means.keys.named(self.batch.owner), model)

    async def _fail(self, flaws: Sequence[Flaw]) -> None:
        await self._move(OPEN, "failed", errors=_listed(flaws))

    def _move(self, expected: Sequence[Status], status: Status, **more: object) -> Awaitable[bool]:
        library = self._means.library
        now = library.now
        batch_id, runner = self.batch.id, self._runner
        return library.ask(lambda store: store.move(batch_id, expected, status, now, runner, **more))

    # Its lines.

    async def _run_lines(self, results: Results) -> None:
        writer = Writer(results, TRY_AGAIN_S, self._means.library.complain)
        feeding = self._feeding = asyncio.create_task(self._feed(results, writer))
        if self._ending is not None:
            feeding.cancel()
        try:
            # Not awaited itself: `end` cancels it, and that would look as if this task had been cancelled.
            await asyncio.wait([feeding])
            # A fault in a line is raised even where the batch was brought to an end at the same moment.
            if self._ending is None or not feeding.cancelled():
                feeding.result()
            if self._ending is not None:
                await self._list_rest(results, writer, self._ending)
        except BaseException:
            writer.give_up()  # whoever goes on asks again; on a full disk this one would never end
            raise
        finally:
            if not feeding.done():
                await end_tasks([feeding])
            await writer.drain()
            results.close()

    async def _feed(self, results: Results, writer: Writer) -> None:
        """Run every line that is not done yet, each once there is a place."""
        whose, places = self._whose(), self._means.places
        unread: OSError | None = None
        async with places.turn(whose):
            async with asyncio.TaskGroup() as running, contextlib.aclosing(self._undone(results)) as slices:
                try:
                    async for lines in slices:
                        for number, line in lines:
                            # The place first: 100,000 lines make no more tasks than places.
                            await places.take(whose)
                            running.create_task(self._line(number, line, writer, whose))
                except (FileNotFoundError, Unreadable) as error:  # no group of them
                    unread = error  # those that have begun come to their ends
            if unread is not None:
                raise unread

    async def _undone(self, results: Results) -> AsyncGenerator[list[tuple[int, bytes]], None]:
        """The input's lines that are not done, slice by slice. Raises FileNotFoundError, Unreadable."""
        with reading(self._input), self._input.open("rb") as file:
            reader = LineReader(file, VALIDATED_BYTES)
            while not reader.at_end:
                lines = await asyncio.to_thread(reader.slice)
                yield [(n, line) for n, line in lines if line is not None and not results.done(n)]

    def _whose(self) -> Whose:
        """The tenant and the key that its places are counted to; a key that is gone has no tenant."""
        owner, tenant = self.batch.owner, ""
        with contextlib.suppress(Unauthorized):
            tenant = self._means.keys.named(owner).tenant
        return whose_of(tenant, owner)

    async def _line(self, number: int, line: bytes, writer: Writer, whose: Whose) -> None:
        batch = self.batch
        try:
            # Read again though it was validated: to keep what was read would hold the whole file in memory.
            request = read_line(line, batch.endpoint)
            request_id = f"{batch.id}-{number}"
            answer = await self._means.attempts.answer(batch.endpoint, request, batch.owner, request_id)
            # The place is kept until the result is on disk: a slow disk holds lines back.
            await writer.put(answered(batch.id, number, request.custom_id, answer))
        finally:
            self._means.places.give_back(whose)

    async def _list_rest(self, results: Results, writer: Writer, ending: Ending) -> None:
        """List every line that is not done under the batch's end."""
        code, message = REST[ending]
        await writer.drain()  # what was answered is done
        async with contextlib.aclosing(self._undone(results)) as slices:
            async for lines in slices:
                rest: list[LineResult] = []
                for number, line in lines:
                    custom_id = read_line(line, self.batch.endpoint).custom_id
                    rest.append(not_asked(self.batch.id, number, custom_id, code, message))
                if rest:
                    await writer.put_all(rest)

    # Its end.

    def _conclude(self, results: Results | None = None) -> Awaitable[None]:
        # One trip to the store's thread: each takes every coroutine above it along (design 72).
        return self._means.library.ask(functools.partial(self._end, results))

    def _end(self, results: Results | None, store: Store) -> None:
        """In the store's own thread. A file that nothing is in is none; cancelled meanwhile, it is that."""
        batch, library, now = self.batch, self._means.library, self._means.library.now
        counts, sizes = (results.counts, results.sizes) if results else (Counts(), (0, 0))
        made: list[FileRecord] = []
        for file_id, name, size in zip(
            (batch.output_file, batch.error_file), ("output", "error"), sizes, strict=True
        ):
            if size:
                named = file_id, batch.owner, "batch_output", f"{batch.id}_{name}.jsonl"
                made.append(FileRecord(*named, size, now, now + batch.results_kept_s))
            else:
                library.folder.remove(file_id)
        status: Status = self._ending or "completed"
        found = store.batch(batch.id) if results and status == "expired" else None
        if found is not None and found.total == counts.completed + counts.failed:
            status = "completed"  # its time was over before it was at its end, but no line was left
        if self._errors is not None:
            status = "cancelled" if status == "cancelled" else "failed"
        elif self._ending is None:
            # From here on no client can cancel it; one that could has done so before the look behind it.
            store.move(batch.id, ("in_progress",), "finalizing", now, batch.runner)
            found = store.batch(batch.id)
            if found is not None and found.status == "cancelling":
                status = "cancelled"
        if store.end(batch, status, now, counts, made, self._errors):
            logger.info("batch %s of %r is %s: %s", batch.id, batch.owner, status, counts)


def _listed(flaws: Sequence[Flaw]) -> str:
    return msgspec.json.encode([flaw.document() for flaw in flaws]).decode()
