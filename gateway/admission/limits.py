"""Bounds: how many requests run at once, how many wait, and whose turn it is."""

from __future__ import annotations

import asyncio
import contextlib
import math
import sys
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace

from gateway.admission.turns.engine_slots import Choose, EngineRoom, Seats
from gateway.admission.turns.fair_turns import Whose, path_of, weighted, whose_of
from gateway.admission.turns.fullness import (
    ahead_of,
    comes_too_late,
    gateway_is_full,
    task_is_full,
    waiting_by,
    waits_too_long,
)
from gateway.admission.turns.lora_slots import ALL_FIT, RESTART, OnResident
from gateway.admission.turns.queues import Bound, Gate, Waiter
from gateway.admission.turns.residency import Residency
from gateway.admission.turns.turns import Turns
from gateway.config.document import Config
from gateway.errors import DeadlineExceeded, RequestError, Unavailable

OnWaiting = Callable[[str, int], None]


def _unobserved(task: str, change: int) -> None:
    pass


def _nowhere() -> bool:
    return False


class Admission(Bound):
    """Bounds on requests in flight and waiting, for each task and for the gateway, and the LoRA slots.

    A task at its own bound is answered 429, a gateway at its own 503. Where no more may wait, the newest
    request of the key that has most waiting gives way to one of a key that has fewer: a flood refuses itself.
    Who waits goes on in `Turns`. A request of several sequences takes as many places, at most all that its
    task has: where they are not free at once, one in each of its turns, and only one request at a time
    gathers them, so that no two wait for each other. Where there are more adapters than the engine has slots,
    `lora_slots.Slots` decides which of them may be at the engine together. With several workers each has its
    share of every bound (`share`), of the slots at least one, so that the engine may meet more adapters than
    it has slots for a moment; turns go round the keys in each worker.
    """

    def __init__(
        self,
        config: Config,
        worker: int = 0,
        on_waiting: OnWaiting | None = None,
        clock: Callable[[], float] = time.monotonic,
        on_resident: OnResident | None = None,
        waited_elsewhere: Callable[[], bool] = _nowhere,
    ) -> None:
        """`waited_elsewhere`: whether clients wait for a place in another worker."""
        bounds = config.gateway
        self._worker = worker
        self._workers = bounds.workers
        super().__init__(self._share(bounds.max_in_flight), self._share(bounds.max_waiting))
        self._most_in_flight = self.max_in_flight
        self.queue_timeout_s = bounds.queue_timeout_s
        self._on_waiting = on_waiting or _unobserved
        self._waited_elsewhere = waited_elsewhere
        self.clock = clock
        self.gates: Mapping[str, Gate] = {}
        """By task; replaced whole."""
        self._residency = Residency(bounds.least_residency_s, on_resident)
        self._turns = Turns(self, self._residency, self.count_waiting, clock)
        self._held: Counter[str] = Counter()
        self._answered = self._late = 0
        self.awaited: Callable[[], None] | None = None
        """Called whenever a place comes free, where somebody waits for room beside the queues."""
        self.held = 0
        """Requests that `in_flight` does not count: pipelines, between two stages too, and a batch's."""
        self.last_request_at: float | None = None
        """Seconds of `time.perf_counter`; None before the first."""
        self.configure(config)

    def _share(self, bound: int) -> int:
        return share(bound, self._worker, self._workers)

    def configure(self, config: Config) -> None:
        """The gates of another configuration; a task that is gone keeps its own for what has begun."""
        bounds = config.gateway
        gates = dict(self.gates)
        for name in config.models:
            task = config.tasks.get(name)
            in_flight = (task and task.max_in_flight) or bounds.max_in_flight_per_task
            waiting = bounds.max_waiting_per_task
            if task is not None and task.max_waiting is not None:
                waiting = task.max_waiting
            gate = gates.get(name)
            if gate is None:
                gate = gates[name] = Gate(name, 0, 0)
            gate.max_in_flight = max(1, self._share(in_flight))
            gate.max_waiting = self._share(waiting)
        self.gates = gates
        self._turns.go_on()

    def follow(self, engines_take: int | None) -> None:
        """Bound what is in flight by what all engines take together; None: by the configuration alone."""
        most = self._most_in_flight
        if engines_take is not None:
            # Who has begun to gather its places gets them: it holds up all others until it has.
            most = min(most, max(1, self._share(engines_take), self._turns.gathered + 1))
        raised, self.max_in_flight = most > self.max_in_flight, most
        if raised:
            self._turns.go_on()
            if self.awaited is not None:
                self.awaited()

    def set_slots(self, slots: int | None, adapters: int) -> None:
        """How many adapters one batch of the engine holds, and how many there are; None where unknown."""
        own = None
        if slots is not None and adapters > slots:
            own = max(1, self._share(slots))
        self._residency.resize(own, self.clock(), RESTART if slots is None else ALL_FIT)
        self._turns.go_on()

    def follow_slots(self, rooms: Mapping[str, EngineRoom]) -> None:
        """As `set_slots`, of several engines: an adapter has its turns on each that has loaded it."""
        own = {name: replace(room, slots=max(1, self._share(room.slots))) for name, room in rooms.items()}
        if any(len(room.loaded) > room.slots for room in rooms.values()):
            self._residency.follow(own)
        else:
            self._residency.resize(None, self.clock())
        self._turns.go_on()

    def choose_engine(self, choose: Choose, seats: Seats) -> None:
        """Have `choose` say where an adapter goes that takes a slot, or may wait for one that it has.

        `seats`: how many requests an engine runs at once, by its name.
        """
        self._residency.choose = choose
        self._residency.seats = lambda engine: max(1, self._share(seats(engine)))

    def seat(self, adapter_id: str | None) -> str | None:
        """The engine that a request goes to which was let in just now; None where any does that has it.

        To be asked once for each, and given back with `leave`.
        """
        return self._residency.seat(adapter_id)

    @property
    def queue_s(self) -> float:
        """Until all that wait have their places, as quickly as the queue moves; 0 where nobody waits."""
        return self.pace.wait_s(self.waiting, self.clock()) if self.waiting else 0.0

    def in_flight_for(self, adapter_id: str) -> int:
        """Requests in flight on that adapter."""
        return self._residency.busy.get(adapter_id, 0)

    def busy(self, adapter_id: str) -> int:
        """Requests in flight and waiting on that adapter, and pipelines that will come back to it."""
        waiting = sum(len(lane.queue) for lane in self._turns.lanes if lane.adapter_id == adapter_id)
        return self._residency.busy.get(adapter_id, 0) + self._held[adapter_id] + waiting

    @contextlib.contextmanager
    def hold(self, adapter_ids: Collection[str]) -> Iterator[None]:
        """Those adapters are needed until the end, though nothing of it may be in flight for a while."""
        self.held += 1
        self._held.update(adapter_ids)
        try:
            yield
        finally:
            self.held -= 1
            self._held.subtract(adapter_ids)
            # Without those at 0: each version has another id.
            self._held = +self._held

    def residency(self) -> list[dict[str, object]]:
        """The adapters that are believed to be in the engine's slots; all that are busy, without slots."""
        return self._residency.shown(self._turns.lanes, self.clock())

    def lacks_slot(self, adapter_id: str | None) -> bool:
        """Whether the adapter needs a LoRA slot and has none, as far as is known here."""
        return self._residency.bounded and self._residency.lacks_slot(adapter_id)

    def places(self, task: str, sequences: int) -> int:
        """How many places a request of so many sequences takes: at most all, so that alone it can run."""
        return max(1, min(sequences, self.gates[task].max_in_flight, self.max_in_flight))

    def try_enter(self, task: str, adapter_id: str | None = None, places: int = 1) -> Gate | None:
        """Its places at once, or None where the request must wait. Raises KeyError for an unknown task."""
        gate = self.gates[task]
        if gate.in_flight + places > gate.max_in_flight or self.in_flight + places > self.max_in_flight:
            return None
        # Nobody passes who waits for the same adapter; who waits for another may lack only its slot.
        if gate.waiting and adapter_id in gate.lanes:
            return None
        residency = self._residency
        # Last, since a yes takes a slot, and a seat at its engine.
        if residency.bounded and not residency.admits(adapter_id, self._turns.lanes, self.clock(), new=True):
            return None
        gate.in_flight += places
        self.in_flight += places
        residency.busy[adapter_id] += 1
        return gate

    async def enter(
        self,
        task: str,
        adapter_id: str | None = None,
        places: int = 1,
        *,
        key: str = "",
        tenant: str = "",
        cost: float | None = None,
        let_in: bool = False,
        left_s: float = math.inf,
        tokens: int | None = None,
    ) -> Gate:
        """Wait for a request's places; as long as it takes, and whoever else waits, where it was `let_in`.

        `cost` is what it takes of its key's and its tenant's turns, in tokens; without one, its places.
        `left_s`: how long its client waits from now; `tokens`: of its answer, where all of it is to be there
        by then.

        Raises TooManyRequests (429) where the task's queue is full, Unavailable (503) where the gateway's is,
        or where they did not come free in time; DeadlineUnreachable (429) and DeadlineExceeded (504) where
        the client's time is too short. What cannot come in time, as quickly as the queue moves, is refused at
        once. Cancelling the wait leaves the queue as if the request had never come.
        """
        gate = self.try_enter(task, adapter_id, places)
        if gate is not None:
            return gate
        gate = self.gates[task]
        whose = whose_of(tenant, key)
        # The answer needs its time too (design 83).
        longest_s = left_s if tokens is None else left_s - gate.service.expected_s(tokens)
        if not let_in:
            self._check_in_time(gate, whose, longest_s, left_s)
            self._make_room(gate, whose)
        waiter = Waiter(places, places if cost is None else cost, let_in)
        lane = self._turns.join(gate, adapter_id, whose, waiter)
        try:
            async with asyncio.timeout(None if let_in else min(self.queue_timeout_s, longest_s)):
                await waiter.admitted
        except BaseException as error:
            if waiter.pushed_out:
                if isinstance(error, TimeoutError):  # in the same turn of the loop
                    await waiter.admitted
                raise
            if waiter.admitted.done() and not waiter.admitted.cancelled():
                # admitted and given up in the same turn of the loop
                # Whose seat it is does not matter: those of one adapter are alike (design 88).
                self.leave(gate, adapter_id, places, self.seat(adapter_id))
            elif waiter in lane.queue:
                self._turns.leave(lane, waiter)
                self._turns.go_on()  # it may have been what others had to give way to
            if isinstance(error, TimeoutError):
                raise self.too_late(longest_s) from None
            raise
        return gate

    def ended(self, gate: Gate, seconds: float, tokens: int) -> None:
        """A request had its answer after so long at the engine."""
        gate.service.took(seconds, tokens)
        self._answered += 1

    def ended_late(self, gate: Gate, seconds: float, tokens: int, given_s: float) -> None:
        """Its client waits no longer, and had given the engine so long; `tokens` is 0 where nobody looked.

        Where that is less than answers take as a rule it says nothing of the engine: a client that never
        waits would else have fewer run at once, for everybody.
        """
        if given_s >= gate.service.expected_s(tokens or sys.maxsize):
            gate.service.took(seconds, tokens)
            self._late += 1

    def take_ended(self) -> tuple[int, int]:
        """How many had their answers and how many were too late, since this was asked last."""
        found, self._answered, self._late = (self._answered, self._late), 0, 0
        return found

    def leave(
        self, gate: Gate, adapter_id: str | None = None, places: int = 1, seat: str | None = None
    ) -> None:
        """Give a request's places back, and its `seat`, and let the next in turn have them."""
        self.in_flight -= places
        gate.in_flight -= places
        residency = self._residency
        residency.busy[adapter_id] -= 1
        if residency.bounded:
            residency.leave(adapter_id, seat)
        # Every request ends here, and as a rule nobody waits.
        if self._turns.lanes:
            self._turns.go_on()
        if self.awaited is not None:
            self.awaited()

    def settle(self, tenant: str, key: str, task: str, unused: float, *, let_in: bool = False) -> None:
        """A request that had waited has ended, and took so much less than its `cost`."""
        path = path_of(whose_of(tenant, key), task, fan_out=let_in)
        self._turns.owners.settles(path, unused, weighted(unused, fan_out=let_in))

    def check_waiting(self, task: str, waiting: int) -> None:
        """Raises TooManyRequests, Unavailable where one more may not wait beside so many of the same task."""
        gate = self.gates[task]
        if waiting >= gate.max_waiting:
            raise task_is_full(gate, waiting, self.clock())
        if self.waiting >= self.max_waiting:
            raise gateway_is_full(self.waiting, self.pace, self.clock())

    def _check_in_time(self, gate: Gate, whose: Whose, longest_s: float, left_s: float) -> None:
        """Raises DeadlineUnreachable, Unavailable for a wait in vain."""
        ahead = ahead_of(waiting_by(gate.every_lane), whose) if gate.waiting else 0
        wait_s = gate.pace.least_wait_s(ahead)
        if wait_s >= longest_s:
            raise comes_too_late(gate.task, gate.waiting, wait_s, longest_s, left_s)
        if wait_s > self.queue_timeout_s:
            raise waits_too_long(wait_s, self.queue_timeout_s)

    def _make_room(self, gate: Gate, whose: Whose) -> None:
        """As `check_waiting`, where nobody gives way either."""
        if gate.waiting >= gate.max_waiting:
            self._turns.push_out(gate.every_lane, whose, task_is_full(gate, gate.waiting, self.clock()))
        if self.waiting >= self.max_waiting:
            full = gateway_is_full(self.waiting, self.pace, self.clock())
            self._turns.push_out(self._turns.lanes, whose, full)

    def count_waiting(self, task: str, change: int) -> None:
        """So many requests more wait, or no longer do; pipelines that wait to be let in among them."""
        if not self.waiting:
            self.pace.begins(self.clock())
        self.waiting += change
        self._on_waiting(task, change)

    def too_late(self, longest_s: float = math.inf) -> RequestError:
        """The 503 for a wait that was too long; the 504 where its client waits no longer than `longest_s`."""
        if longest_s < self.queue_timeout_s:
            return DeadlineExceeded()
        return Unavailable(
            f"No place came free within {self.queue_timeout_s:.0f} s.",
            code="overloaded",
            retry_after_s=self.pace.retry_after_s(self.waiting, self.clock()),
        )

    def has_room(self, task: str) -> bool:
        """Whether a place is free. Raises KeyError for an unknown task."""
        return self.gates[task].has_place and self.has_place

    @property
    def is_waited_for(self) -> bool:
        """Whether a client's request waits, here or in another worker."""
        return self.waiting > 0 or self._waited_elsewhere()

    def try_beside(self, adapter_id: str | None) -> bool:
        """A place outside every bound, for what no client waits for; False where a client's request waits.

        `leave_beside` must follow a True. The adapter's LoRA slot is free again right after it.
        """
        residency = self._residency
        if self.is_waited_for:
            return False
        if residency.bounded and not residency.admits(adapter_id, self._turns.lanes, self.clock()):
            return False
        residency.busy[adapter_id] += 1
        return True

    def leave_beside(self, adapter_id: str | None, seat: str | None = None) -> None:
        """Give a place of `try_beside` back."""
        residency = self._residency
        residency.busy[adapter_id] -= 1
        if residency.bounded:
            residency.leave(adapter_id, seat)
            residency.vacate(adapter_id, seat)
        if self._turns.lanes:
            self._turns.go_on()


def share(bound: int, worker: int, workers: int) -> int:
    """Of `bound`, the part of one worker: all parts together are the bound."""
    return bound // workers + (worker < bound % workers)
