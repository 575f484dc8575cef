"""Copies of clients' requests to a candidate that answers none, and how its answers compare.

A task's `shadow` names the candidate and the share of requests, which are chosen by chance: nobody sees the
candidate's answer, so nothing is gained by choosing the same clients each time, and where all requests come
with one key it would be all of them or none. A copy goes out once the client's own answer is under way,
counts in no quota and no bound on the clients' requests, and gives way as soon as one of those has to wait.
A client that leaves, or an own answer that fails, ends its copy: nothing is left to compare it with.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
import secrets
import time
from collections.abc import Callable
from dataclasses import replace

import msgspec

from gateway.admission.limits import Admission, share
from gateway.config.snapshot import ShadowStatus
from gateway.dialects.chat.said import Said
from gateway.dialects.request_body import Fields
from gateway.errors import EngineError, RequestError
from gateway.http.engine_connection import Connection, Segments
from gateway.metrics.counters import Metrics
from gateway.relay.request_record import Exchange
from gateway.relay.shadow.comparison import MAX_RAW_BYTES, compare, read_answer
from gateway.relay.shadow.copy import Copy
from gateway.relay.shadow.journal import Journal, ShadowRecord
from gateway.routing.replicas import Replicas
from gateway.routing.table import Route
from gateway.upkeep import Upkeep, end_tasks

logger = logging.getLogger("gateway.relay.shadow.copies")

MOST_COPIES = 4
"""In flight at once, shared out between the workers."""
MAX_BODY_BYTES = 256 * 1024
"""A larger request is not copied."""
COPY_WITHIN_S = 300.0
MOST_PENDING = 1000
"""Records that wait to be written; more are let go."""
LOW_PRIORITY = msgspec.Raw(b"1000")
"""In vLLM's priority scheduling a larger number comes later; clients' requests have 0, batches' 100."""
LEFT_OUT = (
    *("stream", "stream_options", "logprobs", "top_logprobs", "prompt_logprobs", "n", "best_of"),
    "include",
)
"""Of a request, what its copy does not need: the first choice's text is compared, and nothing else."""
GREEDY = (msgspec.Raw(b"0"), msgspec.Raw(b"0.0"))


class Shadow:
    """Every copy of this process. Use it in one event loop."""

    def __init__(
        self,
        replicas: Replicas,
        admission: Admission,
        metrics: Metrics,
        upkeep: Upkeep,
        worker: int = 0,
        chance: Callable[[], float] = random.random,
    ) -> None:
        config = replicas.config
        self._replicas = replicas
        self._admission = admission
        self._metrics = metrics
        self._upkeep = upkeep
        self.chance = chance
        self._texts = config.gateway.shadow_texts
        self._most = max(1, share(MOST_COPIES, worker, config.gateway.workers))
        self._journal = Journal(config.state_dir)
        self._key = secrets.token_bytes(16)
        self._copies: dict[asyncio.Task[None], Copy] = {}
        self._pending: dict[str, list[ShadowRecord]] = {}
        self._writing: asyncio.Task[None] | None = None
        self._following: asyncio.Task[None] | None = None
        self.candidates: dict[str, ShadowStatus] = {}
        """By task; empty as a rule, and then all that a request pays is one look."""

    @property
    def in_flight(self) -> int:
        return len(self._copies)

    def start(self) -> None:
        self._following = self._upkeep.keep("shadow", self._follow)

    async def stop(self) -> None:
        """Cancel every copy, write what is known."""
        await end_tasks([self._following, *self._copies])
        while self._writing is not None:
            await self._writing

    def give_way(self) -> None:
        """A client's request has to wait: no copy may be what it waits for."""
        for task in self._copies:
            task.cancel()

    def choose(
        self, exchange: Exchange, route: Route, fields: Fields, size_bytes: int, streamed: bool
    ) -> Copy | None:
        """A copy of this request, where it is among the share; `fields` are the client's own.

        Call it before the task's contract is applied to them.
        """
        wanted = self.candidates.get(route.name)
        if not exchange.dialect.generates:
            return None
        if wanted is None or wanted.id == route.adapter_id or self.chance() >= wanted.share:
            return None
        if streamed and "tools" in fields:
            return None  # a stream's tool calls come in pieces that nothing here puts together
        if size_bytes > MAX_BODY_BYTES:
            self.count(route.name, wanted.id, "dropped")
            return None
        asked = {key: value for key, value in fields.items() if key not in LEFT_OUT}
        return Copy(self._begin, exchange, route, wanted.id, asked, size_bytes, streamed)

    def _begin(self, copy: Copy) -> asyncio.Task[None] | None:
        """Send it; None where there are enough already, which counts as dropped."""
        if len(self._copies) >= self._most:
            self.count(copy.route.name, copy.candidate, "dropped")
            return None
        task = asyncio.create_task(self._run(copy))
        self._copies[task] = copy
        task.add_done_callback(self._ended)
        return task

    def count(self, task: str, candidate: str, outcome: str) -> None:
        self._metrics.shadow(task, candidate, outcome)

    def _ended(self, task: asyncio.Task[None]) -> None:
        copy = self._copies.pop(task)
        if task.cancelled():
            self.count(copy.route.name, copy.candidate, "dropped")
        elif error := task.exception():
            self._upkeep.failed("shadow.copy", error, f"one of {copy.route.name} is lost")

    async def _follow(self) -> None:
        while True:
            news = self._replicas.news
            self._adopt()
            await news.wait()

    def _adopt(self) -> None:
        """The candidates of the snapshot now; copies to those that are none any more end."""
        tasks = self._replicas.snapshot.tasks
        self.candidates = {
            name: task.shadow for name, task in tasks.items() if task.shadow and task.shadow.share > 0
        }
        kept = {shadow.id for shadow in self.candidates.values()}
        for task, copy in self._copies.items():
            if copy.candidate not in kept:
                task.cancel()

    async def _run(self, copy: Copy) -> None:
        if not self._admission.try_beside(copy.candidate):
            self.count(copy.route.name, copy.candidate, "dropped")
            return
        seat = self._admission.seat(copy.candidate)
        body: Segments = ()
        other: Said | None = None
        reason = ""
        try:
            body = self._body(copy)
            async with asyncio.timeout(COPY_WITHIN_S):
                other = await self._ask(copy, body, seat)
        except RequestError as error:
            reason = error.code or error.kind
        except TimeoutError:
            reason = "timeout"
        finally:  # before the wait for the client's own answer, which needs no place
            self._admission.leave_beside(copy.candidate, seat)
        own = await copy.own
        if own is None:
            self.count(copy.route.name, copy.candidate, "dropped")
            return
        if other is None and not reason:
            reason = "no_answer"
        record = self._compared(copy, own, other, reason)
        if self._texts:
            record = msgspec.structs.replace(
                record,
                request=msgspec.Raw(b"".join(body)),
                texts=[own.text, *([other.text] if other else [])],
            )
        self.count(copy.route.name, copy.candidate, record.outcome)
        self._keep(record)

    def _body(self, copy: Copy) -> Segments:
        """What the client asked for, with the task's contract, of the candidate and in one piece."""
        route = replace(
            copy.route,
            adapter_id=copy.candidate,
            model_json=msgspec.Raw(msgspec.json.encode(copy.candidate)),
            versions=(),
        )
        fields = copy.fields
        dialect = copy.exchange.dialect
        dialect.apply_contract(fields, route)
        if self._replicas.priorities:
            dialect.give_priority(fields, LOW_PRIORITY)
        return dialect.encode_body(fields, route, copy.size_bytes)

    async def _ask(self, copy: Copy, body: Segments, seat: str | None) -> Said | None:
        """The candidate's answer; None where it is none that can be compared. Raises RequestError."""
        route = replace(copy.route, adapter_id=copy.candidate, versions=())
        replica = self._replicas.pick(route) if seat is None else self._replicas.seated(route, seat)
        began = time.perf_counter()
        connection = await replica.upstream.exchange(
            copy.exchange.dialect.path, body, copy.exchange.request_id + b"-shadow"
        )
        try:
            if connection.status != 200:
                raise EngineError("The engine refused the copy.", code=f"status_{connection.status}")
            answer = await _read(connection)
        finally:
            replica.upstream.finish(connection)
        return read_answer(answer, time.perf_counter() - began, copy.exchange.dialect)

    def _compared(self, copy: Copy, own: Said, other: Said | None, reason: str) -> ShadowRecord:
        answers = [own] if other is None else [own, other]
        difference = compare(own.text, other.text) if other else None
        outcome = "failed"
        if difference is not None:
            outcome = "same" if difference.same else "different"
        return ShadowRecord(
            at=round(time.time(), 3),
            task=copy.route.name,
            answered=copy.route.adapter_id or "",
            candidate=copy.candidate,
            outcome=outcome,
            request_id=copy.exchange.request_id.decode(),
            streamed=copy.streamed,
            sampled=copy.fields.get("temperature") not in GREEDY,
            structured=difference.structured if difference else False,
            paths=list(difference.paths) if difference else [],
            digests=[self._digest(answer.text) for answer in answers],
            chars=[len(answer.text) for answer in answers],
            tokens=[answer.tokens for answer in answers],
            finish=[answer.finish_reason for answer in answers],
            ms=[round(answer.seconds * 1000, 1) for answer in answers],
            reason=reason,
        )

    def _digest(self, text: str) -> str:
        return hashlib.blake2b(
            text.encode("utf-8", "surrogatepass"), digest_size=6, key=self._key
        ).hexdigest()

    def _keep(self, record: ShadowRecord) -> None:
        if sum(map(len, self._pending.values())) >= MOST_PENDING:
            return  # the disk does not keep up; it is counted all the same
        self._pending.setdefault(record.task, []).append(record)
        if self._writing is None:
            self._writing = asyncio.create_task(self._write())

    async def _write(self) -> None:
        try:
            while self._pending:
                task, records = self._pending.popitem()
                try:
                    await asyncio.to_thread(self._journal.write, task, records)
                except OSError as error:
                    logger.error("%d shadow records of %s are lost: %s", len(records), task, error)
        finally:
            # Nothing is awaited since the last look at `_pending`: no record comes unseen in between.
            self._writing = None


async def _read(connection: Connection) -> bytes:
    pieces: list[bytes] = []
    size = 0
    while piece := await connection.read():
        pieces.append(piece)
        size += len(piece)
        if size > MAX_RAW_BYTES:
            raise EngineError("The copy's answer is too large.", code="answer_too_large")
    return b"".join(pieces)
