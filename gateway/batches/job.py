"""One batch from its validation to its files. Whenever it is broken off, another job goes on with it."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import logging
from collections.abc import Awaitable, Coroutine, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from gateway.admission.api_keys import Keys
from gateway.admission.turns.fair_turns import Whose, whose_of
from gateway.batches.attempts import Attempts
from gateway.batches.concurrency import Concurrency
from gateway.batches.database import Store
from gateway.batches.input_lines import LINE_OVERHEAD_BYTES, LineReader, read_line
from gateway.batches.records import OPEN, BatchRecord, Counts, FileRecord, Status, new_file_id
from gateway.batches.results import LineResult, Results, answered, not_asked
from gateway.batches.storage import BatchStorage
from gateway.batches.validation import Verdict, validate
from gateway.batches.writer import TRY_AGAIN_S, Writer
from gateway.errors import Unauthorized, Unavailable
from gateway.routing.permission import permitted_route
from gateway.routing.replicas import Replicas
from gateway.upkeep import end_tasks

logger = logging.getLogger("gateway.batches")

COUNT_EVERY_S = 1.0
"""How far a batch is stands in the store no older than this."""

Ending = Literal["expired", "cancelled"]
REST = {
    "expired": (
        "batch_expired",
        "This request could not be executed before the completion window expired.",
    ),
    "cancelled": ("batch_cancelled", "The batch was cancelled before this request was executed."),
}


@dataclass(frozen=True, slots=True)
class JobServices:
    """What every job of a runner works with."""

    library: BatchStorage
    keys: Keys
    replicas: Replicas
    attempts: Attempts
    places: Concurrency
    most_body_bytes: int
    looking: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))
    """Of whose file is looked through: a key may have many, and of one at a time clients notice nothing."""

    @property
    def most_line_bytes(self) -> int:
        return self.most_body_bytes + LINE_OVERHEAD_BYTES


class Job:
    """`run` it in a task; cancelling that breaks it off, `end` brings it to another end."""

    def __init__(self, batch: BatchRecord, means: JobServices, runner: str) -> None:
        self.batch = batch
        self._runner = runner
        self._means = means
        self._input = means.library.folder.content(batch.input_file)
        self._ending: Ending | None = None
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done where it was brought to another end."""
        self._running: set[asyncio.Task[None]] = set()
        self._fault: BaseException | None = None

    def end(self, ending: Ending) -> None:
        """What is done stays, and the rest is listed as not run."""
        if self._ending is None:
            self._ending = ending
            self._ended.set_result(None)

    async def run(self) -> None:
        if not await self._taken_over():
            logger.info("batch %s is another process's by now, or at its end", self.batch.id)
            return
        if self.batch.status == "cancelling":
            self.end("cancelled")
        try:
            if self.batch.in_progress_at is None and not await self._validated():
                return
            await self._results()
        except FileNotFoundError as error:
            logger.error("batch %s: its input is gone: %s", self.batch.id, error)
            await self._fail([{"code": "input_lost", "message": "The input file is gone.", "line": None}])

    async def _taken_over(self) -> bool:
        """Have the batch be this runner's, with copies of the results that another left.

        Files that the other may still have open are written to by nobody else: it may only be slow, or have
        been stopped, and go on where it was.
        """
        library, before = self._means.library, self.batch
        folder = library.folder
        if before.runner == self._runner:
            return True
        fresh = dataclasses.replace(before, runner=self._runner)
        pairs: list[tuple[str, str]] = []
        if before.runner:
            fresh = dataclasses.replace(fresh, output_file=new_file_id(), error_file=new_file_id())
            pairs = [(before.output_file, fresh.output_file), (before.error_file, fresh.error_file)]
        for old, new in pairs:
            await asyncio.to_thread(folder.copy, old, new)
        if pairs:
            await asyncio.to_thread(folder.sync_names)
        taken = await library.ask(lambda store: store.take_over(before, fresh))
        for old, new in pairs:
            await asyncio.to_thread(folder.remove, old if taken else new)
        self.batch = fresh
        return taken

    # Its validation.

    async def _validated(self) -> bool:
        """Whether it is in progress now."""
        checking = asyncio.create_task(self._verdict())
        if not await self._until_done(checking):
            await self._conclude(Counts(), ())
            return False
        verdict = checking.result()
        if verdict.flaws:
            await self._fail([flaw.document() for flaw in verdict.listed()])
            return False
        if await self._move(("validating",), "in_progress", total=verdict.total):
            return True
        self.end("cancelled")  # in the meantime; not a line has been run
        await self._conclude(Counts(), ())
        return False

    def _verdict(self) -> Coroutine[None, None, Verdict]:
        means, batch = self._means, self.batch

        def check_model(model: str) -> None:
            permitted_route(means.replicas.table, means.keys.named(batch.owner), model)

        return validate(
            self._input,
            batch.endpoint,
            check_model,
            most_lines=means.library.settings.max_lines,
            most_line_bytes=means.most_line_bytes,
            turns=means.looking,
        )

    async def _fail(self, errors: Sequence[dict[str, object]]) -> None:
        await self._move(OPEN, "failed", errors=msgspec.json.encode(errors).decode())

    def _move(self, expected: Sequence[Status], status: Status, **more: object) -> Awaitable[bool]:
        library = self._means.library
        now = library.now
        batch_id, runner = self.batch.id, self._runner
        return library.ask(lambda store: store.move(batch_id, expected, status, now, runner, **more))

    async def _until_done(self, work: asyncio.Task[object]) -> bool:
        """Whether `work` came to its end before the batch was brought to another."""
        try:
            await asyncio.wait((work, self._ended), return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                work.result()
            return work.done() and self._ending is None
        finally:
            if not work.done():
                await end_tasks([work])

    # Its lines.

    async def _results(self) -> None:
        with closing(await asyncio.to_thread(self._opened)) as results:
            writer = Writer(results, TRY_AGAIN_S)
            counting = asyncio.create_task(self._count(results))
            try:
                await self._until_done(asyncio.create_task(self._feed(results, writer)))
                await writer.drain()
                if self._ending is not None:
                    await self._list_rest(results, writer, self._ending)
            except BaseException:
                writer.give_up()  # whoever goes on asks again; on a full disk this one would never end
                raise
            finally:
                await end_tasks([counting])
                await writer.drain()
            made = await asyncio.to_thread(self._made, results)
            await self._conclude(results.counts, made)

    def _opened(self) -> Results:
        """The files of its results, whose names are there after a power failure too."""
        batch, folder = self.batch, self._means.library.folder
        results = Results(batch.id, folder.content(batch.output_file), folder.content(batch.error_file))
        try:
            folder.sync_names()
        except OSError:
            results.close()
            raise
        return results

    async def _feed(self, results: Results, writer: Writer) -> None:
        """Run every line that is not done yet, each once there is a place."""
        whose = self._whose()
        async with self._means.places.turn(whose):
            try:
                with self._input.open("rb") as file:
                    reader = LineReader(file, self._means.most_line_bytes)
                    while not reader.at_end:
                        for number, line in await asyncio.to_thread(reader.slice):
                            if line is not None and not results.done(number):
                                await self._begin(number, line, writer, whose)
                while self._running:
                    await asyncio.wait(tuple(self._running), return_when=asyncio.FIRST_COMPLETED)
                self._look_for_fault()
            finally:
                await end_tasks(self._running)

    def _whose(self) -> Whose:
        """The tenant and the key that its places are counted to; a key that is gone has no tenant."""
        owner, tenant = self.batch.owner, ""
        with contextlib.suppress(Unauthorized):
            tenant = self._means.keys.named(owner).tenant
        return whose_of(tenant, owner)

    async def _begin(self, number: int, line: bytes, writer: Writer, whose: Whose) -> None:
        self._look_for_fault()
        await self._means.places.take(whose)
        task = asyncio.create_task(self._line(number, line, writer))
        self._running.add(task)
        task.add_done_callback(functools.partial(self._over, whose))

    def _over(self, whose: Whose, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._means.places.give_back(whose)
        if not task.cancelled() and (fault := task.exception()) is not None:
            self._fault = fault

    def _look_for_fault(self) -> None:
        if self._fault is not None:
            raise self._fault

    async def _line(self, number: int, line: bytes, writer: Writer) -> None:
        batch = self.batch
        request = read_line(line, batch.endpoint)
        request_id = f"{batch.id}-{number}"
        answer = await self._means.attempts.answer(batch.endpoint, request, batch.owner, request_id)
        await writer.put(answered(batch.id, number, request.custom_id, answer))

    async def _list_rest(self, results: Results, writer: Writer, ending: Ending) -> None:
        """List every line that is not done under the batch's end."""
        code, message = REST[ending]
        with self._input.open("rb") as file:
            reader = LineReader(file, self._means.most_line_bytes)
            while not reader.at_end:
                rest: list[LineResult] = []
                for number, line in await asyncio.to_thread(reader.slice):
                    if line is not None and not results.done(number):
                        custom_id = read_line(line, self.batch.endpoint).custom_id
                        rest.append(not_asked(self.batch.id, number, custom_id, code, message))
                if rest:
                    await writer.put_all(rest)

    async def _count(self, results: Results) -> None:
        """Tell the store how far it is, now and then."""
        library, told = self._means.library, Counts()
        while True:
            await asyncio.sleep(COUNT_EVERY_S)
            counts = results.counts
            if counts != told:
                with contextlib.suppress(Unavailable):
                    await library.ask(functools.partial(_count, batch=self.batch, counts=counts))
                    told = counts

    # Its end.

    def _made(self, results: Results) -> list[FileRecord]:
        """The files that there is something in; an empty one is removed."""
        batch, library = self.batch, self._means.library
        made: list[FileRecord] = []
        for file_id, name, size in zip(
            (batch.output_file, batch.error_file), ("output", "error"), results.sizes, strict=True
        ):
            if not size:
                library.folder.remove(file_id)
                continue
            now = library.now
            expires_at = now + batch.results_kept_s
            filename = f"{batch.id}_{name}.jsonl"
            made.append(FileRecord(file_id, batch.owner, "batch_output", filename, size, now, expires_at))
        library.folder.sync_names()
        return made

    async def _conclude(self, counts: Counts, made: Sequence[FileRecord]) -> None:
        batch, library = self.batch, self._means.library
        end = functools.partial(
            _end, batch=batch, ending=self._ending, now=library.now, counts=counts, made=made
        )
        status, ended = await library.ask(end)
        if ended:
            logger.info("batch %s of %r is %s: %s", batch.id, batch.owner, status, counts)


def _end(
    store: Store,
    batch: BatchRecord,
    ending: Ending | None,
    now: int,
    counts: Counts,
    made: Sequence[FileRecord],
) -> tuple[Status, bool]:
    """What it ended as, also where it was cancelled meanwhile; and whether it was its runner's still."""
    status: Status = ending or "completed"
    if ending is None:
        store.move(batch.id, ("in_progress",), "finalizing", now, batch.runner)
        found = store.batch(batch.id)
        if found is not None and found.status == "cancelling":
            status = "cancelled"
    return status, store.end(batch, status, now, counts, made)


def _count(store: Store, batch: BatchRecord, counts: Counts) -> None:
    store.count(batch, counts)
