"""Bounds: how large a body may be, what it may ask for, and how many requests run at once."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from gateway.config import GatewayConfig
from gateway.errors import InvalidRequest, Unavailable

BOUNDED_COUNTS = ("n", "best_of")
BOUNDED_LOGPROBS = ("logprobs", "top_logprobs", "prompt_logprobs")
REFUSED = ("api_base", "base_url", "api_key", "chat_template", "chat_template_kwargs")
"""Fields that would let a client choose where a request goes or what code renders it."""


def check_fields(fields: Mapping[str, msgspec.Raw], bounds: GatewayConfig) -> None:
    """Refuse what would harm the engine before it is sent. Raises InvalidRequest."""
    for key in REFUSED:
        if key in fields:
            raise InvalidRequest(f"The parameter '{key}' is not accepted here.", param=key)
    for key in BOUNDED_COUNTS:
        if key in fields:
            _check_count(key, fields[key], 1, bounds.max_n)
    for key in BOUNDED_LOGPROBS:
        if key in fields and bytes(fields[key]) not in (b"true", b"false"):
            _check_count(key, fields[key], 0, bounds.max_logprobs)


def _check_count(key: str, raw: msgspec.Raw, least: int, most: int) -> None:
    try:
        value = msgspec.json.decode(raw, type=int | None)
    except msgspec.ValidationError:
        raise InvalidRequest(f"'{key}' must be a whole number.", param=key) from None
    if value is not None and not least <= value <= most:
        raise InvalidRequest(f"'{key}' is {value}; it may be from {least} to {most}.", param=key)


@dataclass(slots=True, eq=False)
class Ticket:
    """A place at the engine, held until `Admission.leave`."""

    task: str
    queue_ms: float
    waiter: asyncio.Future[None] | None = None


class Admission:
    """A bound on requests in flight, whole and per task, with a bounded first-come queue before it."""

    def __init__(self, bounds: GatewayConfig) -> None:
        self._bounds = bounds
        self._waiting: deque[Ticket] = deque()
        self.in_flight = 0
        self.in_flight_of: Counter[str] = Counter()

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    async def enter(self, task: str) -> Ticket:
        """Take a place, waiting for one if need be. Raises Unavailable (503) when the queue is full or slow.

        Cancelling the wait leaves the queue as if the request had never come.
        """
        if not self._waiting and self._fits(task):
            return self._admit(Ticket(task, 0.0))
        if len(self._waiting) >= self._bounds.max_waiting:
            raise Unavailable(
                f"{len(self._waiting)} requests are waiting already, the most that may.",
                code="overloaded",
                retry_after_s=1,
            )
        return await self._queue(task)

    def leave(self, ticket: Ticket) -> None:
        """Give the place back and let the next in the queue have it."""
        self.in_flight -= 1
        self.in_flight_of[ticket.task] -= 1
        if not self.in_flight_of[ticket.task]:
            del self.in_flight_of[ticket.task]
        self._admit_waiting()

    async def _queue(self, task: str) -> Ticket:
        loop = asyncio.get_running_loop()
        began = loop.time()
        ticket = Ticket(task, 0.0, loop.create_future())
        self._waiting.append(ticket)
        self._admit_waiting()  # a place may be free for this task though another task's requests wait
        assert ticket.waiter is not None
        try:
            async with asyncio.timeout(self._bounds.queue_timeout_s):
                await ticket.waiter
        except BaseException as error:
            if ticket.waiter.done() and not ticket.waiter.cancelled():
                self.leave(ticket)
            else:
                self._waiting.remove(ticket)
            if isinstance(error, TimeoutError):
                raise Unavailable(
                    f"No place came free within {self._bounds.queue_timeout_s:.0f} s.",
                    code="overloaded",
                    retry_after_s=5,
                ) from None
            raise
        ticket.queue_ms = (loop.time() - began) * 1000
        return ticket

    def _fits(self, task: str) -> bool:
        return (
            self.in_flight < self._bounds.max_in_flight
            and self.in_flight_of[task] < self._bounds.max_in_flight_per_task
        )

    def _admit(self, ticket: Ticket) -> Ticket:
        self.in_flight += 1
        self.in_flight_of[ticket.task] += 1
        return ticket

    def _admit_waiting(self) -> None:
        """Admit in order; a task at its own bound lets later tasks pass."""
        if not self._waiting or self.in_flight >= self._bounds.max_in_flight:
            return
        kept: deque[Ticket] = deque()
        while self._waiting:
            ticket = self._waiting.popleft()
            assert ticket.waiter is not None
            if ticket.waiter.done():
                kept.append(ticket)  # cancelled: its own coroutine takes it out
            elif self._fits(ticket.task):
                self._admit(ticket)
                ticket.waiter.set_result(None)
            else:
                kept.append(ticket)
        self._waiting = kept
