"""Bounds: how large a body may be, what it may ask for, and how many requests run at once."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping

import msgspec

from gateway.config import Config, GatewayConfig
from gateway.errors import InvalidRequest, RateLimited, Unavailable

OnWaiting = Callable[[str, int], None]

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


class Gate:
    """One task's places and its own queue."""

    __slots__ = ("in_flight", "max_in_flight", "max_waiting", "queue", "task")

    def __init__(self, task: str, max_in_flight: int, max_waiting: int) -> None:
        self.task = task
        self.max_in_flight = max_in_flight
        self.max_waiting = max_waiting
        self.in_flight = 0
        self.queue: deque[asyncio.Future[None]] = deque()


class Admission:
    """Bounds on requests in flight and waiting, for each task and for the gateway.

    A task at its own bound is answered 429, a gateway at its own 503. Places that come free go round the
    tasks that wait, so that one task's long queue does not starve another's short one; within a task, first
    come is first served. With several workers each has its share of every bound (`share`), so that together
    they never exceed it, and a request may meet a full share while another worker has room.
    """

    def __init__(self, config: Config, worker: int = 0, on_waiting: OnWaiting | None = None) -> None:
        bounds = config.gateway
        workers = bounds.workers
        self._max_in_flight = share(bounds.max_in_flight, worker, workers)
        self._max_waiting = share(bounds.max_waiting, worker, workers)
        self._queue_timeout_s = bounds.queue_timeout_s
        self._on_waiting = on_waiting or _unobserved
        self._gates: dict[str, Gate] = {}
        self._turns: deque[Gate] = deque()
        self.in_flight = 0
        self.waiting = 0
        for name in config.models:
            task = config.tasks.get(name)
            in_flight = (task and task.max_in_flight) or bounds.max_in_flight_per_task
            waiting = bounds.max_waiting_per_task
            if task is not None and task.max_waiting is not None:
                waiting = task.max_waiting
            self._gates[name] = Gate(name, share(in_flight, worker, workers), share(waiting, worker, workers))

    def try_enter(self, task: str) -> Gate | None:
        """A place at once, or None where the request must wait."""
        gate = self._gates[task]
        if gate.queue or gate.in_flight >= gate.max_in_flight or self.in_flight >= self._max_in_flight:
            return None
        gate.in_flight += 1
        self.in_flight += 1
        return gate

    async def enter(self, task: str) -> Gate:
        """Wait for a place.

        Raises RateLimited (429) where the task's queue is full, Unavailable (503) where the gateway's is, or
        where no place came free in time. Cancelling the wait leaves the queue as if the request had never
        come.
        """
        gate = self.try_enter(task)
        if gate is not None:
            return gate
        gate = self._gates[task]
        if len(gate.queue) >= gate.max_waiting:
            raise RateLimited(
                f"'{task}' has {gate.in_flight} requests in flight and {len(gate.queue)} waiting, "
                "the most that may.",
                retry_after_s=1,
            )
        if self.waiting >= self._max_waiting:
            raise Unavailable(
                f"{self.waiting} requests are waiting already, the most that may.",
                code="overloaded",
                retry_after_s=1,
            )
        await self._queue(gate)
        return gate

    def leave(self, gate: Gate) -> None:
        """Give a place back and let the next in turn have it."""
        self.in_flight -= 1
        gate.in_flight -= 1
        if self._turns:
            self._admit_waiting()

    async def _queue(self, gate: Gate) -> None:
        waiter = asyncio.get_running_loop().create_future()
        if not gate.queue:
            self._turns.append(gate)
        gate.queue.append(waiter)
        self._count(gate, 1)
        try:
            async with asyncio.timeout(self._queue_timeout_s):
                await waiter
        except BaseException as error:
            if waiter.done() and not waiter.cancelled():
                self.leave(gate)  # admitted and given up in the same turn of the loop
            elif waiter in gate.queue:
                gate.queue.remove(waiter)
                if not gate.queue:
                    self._turns.remove(gate)
                self._count(gate, -1)
            if isinstance(error, TimeoutError):
                raise Unavailable(
                    f"No place came free within {self._queue_timeout_s:.0f} s.",
                    code="overloaded",
                    retry_after_s=5,
                ) from None
            raise

    def _count(self, gate: Gate, change: int) -> None:
        self.waiting += change
        self._on_waiting(gate.task, change)

    def _admit_waiting(self) -> None:
        """Fill the free places, one from each waiting task in turn; a task at its bound is passed over."""
        passed = 0
        while self._turns and passed < len(self._turns) and self.in_flight < self._max_in_flight:
            gate = self._turns[0]
            if gate.in_flight >= gate.max_in_flight:
                self._turns.rotate(-1)
                passed += 1
                continue
            passed = 0
            self._turns.popleft()
            waiter = gate.queue.popleft()
            if gate.queue:
                self._turns.append(gate)
            self._count(gate, -1)
            if not waiter.done():  # else cancelled, and its own coroutine has yet to notice
                gate.in_flight += 1
                self.in_flight += 1
                waiter.set_result(None)


def share(bound: int, worker: int, workers: int) -> int:
    """Of `bound`, the part of one worker: all parts together are the bound."""
    return bound // workers + (worker < bound % workers)


def _unobserved(task: str, change: int) -> None:
    pass
