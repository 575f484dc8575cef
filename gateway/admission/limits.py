"""Bounds: how many requests run at once, how many wait, and whose turn it is."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator

from gateway.admission.lora_slots import OnResident, Slots, takes_slot
from gateway.admission.queues import AdapterQueue, Gate, Waiter
from gateway.config.document import Config
from gateway.errors import TooManyRequests, Unavailable

OnWaiting = Callable[[str, int], None]


def _unobserved(task: str, change: int) -> None:
    pass


def _nowhere() -> bool:
    return False


class Admission:
    """Bounds on requests in flight and waiting, for each task and for the gateway, and the LoRA slots.

    A task at its own bound is answered 429, a gateway at its own 503. Places that come free go round the
    queues, so that one task's long queue does not starve another's short one; within a queue, first come is
    first served, and a queue that cannot go on yet keeps its turn. A request of several sequences takes as
    many places, at most all that its task has: where they are not free at once, one in each of its turns, and
    only one request at a time gathers them, so that no two wait for each other. Where
    there are more adapters than the
    engine has slots, `lora_slots.Slots` decides which of them may be at the engine together. With several
    workers each has its share of every bound (`share`), of the slots at least one, so that the engine may
    meet more adapters than it has slots for a moment.
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
        self.max_in_flight = share(bounds.max_in_flight, worker, bounds.workers)
        self.max_waiting = share(bounds.max_waiting, worker, bounds.workers)
        self.queue_timeout_s = bounds.queue_timeout_s
        self._least_residency_s = bounds.least_residency_s
        self._on_waiting = on_waiting or _unobserved
        self._on_resident = on_resident
        self._waited_elsewhere = waited_elsewhere
        self._clock = clock
        self._gates: dict[str, Gate] = {}
        self._turns: dict[AdapterQueue, None] = {}
        """In their order; who is served goes to the end."""
        self._slots: Slots | None = None
        self._busy: defaultdict[str | None, int] = defaultdict(int)
        """Requests in flight by the engine's model; those at 0 are dropped with the next snapshot."""
        self._held: Counter[str] = Counter()
        self._gathering: Waiter | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.in_flight = 0
        self.waiting = 0
        self.awaited: Callable[[], None] | None = None
        """Called whenever a place comes free, where somebody waits for room beside the queues."""
        self.held = 0
        """Requests that `in_flight` does not count: pipelines, between two stages too, and a batch's."""
        self.last_request_at: float | None = None
        """Seconds of `time.perf_counter`; None before the first."""
        self.configure(config)

    def configure(self, config: Config) -> None:
        """The gates of another configuration; a task that is gone keeps its own for what has begun."""
        bounds = config.gateway
        gates = dict(self._gates)
        for name in config.models:
            task = config.tasks.get(name)
            in_flight = (task and task.max_in_flight) or bounds.max_in_flight_per_task
            waiting = bounds.max_waiting_per_task
            if task is not None and task.max_waiting is not None:
                waiting = task.max_waiting
            gate = gates.setdefault(name, Gate(name, 0, 0))
            gate.max_in_flight = max(1, share(in_flight, self._worker, self._workers))
            gate.max_waiting = share(waiting, self._worker, self._workers)
        self._gates = gates
        if self._turns:
            self._admit_waiting()

    def set_slots(self, slots: int | None, adapters: int) -> None:
        """How many adapters one batch of the engine holds, and how many there are; None where unknown."""
        for adapter_id in [each for each, count in self._busy.items() if not count]:
            del self._busy[adapter_id]
        if slots is None or adapters <= slots:
            if self._slots is not None:
                self._slots.clear()
                self._slots = None
        else:
            own = max(1, share(slots, self._worker, self._workers))
            if self._slots is None:
                self._slots = Slots(own, self._least_residency_s, on_resident=self._on_resident)
                self._slots.adopt(self._busy, self._clock())
            self._slots.resize(own)
        if self._turns:
            self._admit_waiting()

    def busy(self, adapter_id: str) -> int:
        """Requests in flight and waiting on that adapter, and pipelines that will come back to it."""
        waiting = sum(len(lane.queue) for lane in self._turns if lane.adapter_id == adapter_id)
        return self._busy.get(adapter_id, 0) + self._held[adapter_id] + waiting

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
            self._held = +self._held

    def residency(self) -> list[dict[str, object]]:
        """The adapters that are believed to be in the engine's slots; all that are busy, without slots."""
        waiting: dict[str | None, int] = {}
        for lane in self._turns:
            waiting[lane.adapter_id] = waiting.get(lane.adapter_id, 0) + len(lane.queue)
        slots, now = self._slots, self._clock()
        shown: list[dict[str, object]] = []
        busy = [adapter_id for adapter_id, count in self._busy.items() if count]
        for adapter_id in dict.fromkeys([*(slots.residents if slots else busy), *waiting]):
            resident = slots.residents.get(adapter_id or "") if slots else None
            entry: dict[str, object] = {
                "adapter": adapter_id,
                "in_flight": self._busy.get(adapter_id, 0),
                "waiting": waiting.get(adapter_id, 0),
            }
            if slots is not None:
                entry["resident_s"] = None if resident is None else round(now - resident.since, 3)
            shown.append(entry)
        return shown

    def places(self, task: str, sequences: int) -> int:
        """How many places a request of so many sequences takes: at most all, so that alone it can run."""
        return max(1, min(sequences, self._gates[task].max_in_flight, self.max_in_flight))

    def try_enter(self, task: str, adapter_id: str | None = None, places: int = 1) -> Gate | None:
        """Its places at once, or None where the request must wait. Raises KeyError for an unknown task."""
        gate = self._gates[task]
        if gate.in_flight + places > gate.max_in_flight or self.in_flight + places > self.max_in_flight:
            return None
        if gate.waiting and adapter_id in gate.lanes:
            return None
        if self._slots is not None and not self._has_slot(adapter_id, new=True):
            return None
        gate.in_flight += places
        self.in_flight += places
        self._busy[adapter_id] += 1
        return gate

    def _has_slot(self, adapter_id: str | None, now: float | None = None, *, new: bool = False) -> bool:
        """Whether the adapter may go to the engine now, and then it counts there.

        A new request takes no free slot before those who wait for one.
        """
        slots = self._slots
        if slots is None or adapter_id is None or not takes_slot(adapter_id):
            return True
        waited_for, contended = self._rivals(slots, adapter_id)
        if new and contended and adapter_id not in slots.residents:
            return False
        now = self._clock() if now is None else now
        return slots.admit(adapter_id, now, waited_for=waited_for, contended=contended)

    def _rivals(self, slots: Slots, adapter_id: str | None = None) -> tuple[bool, bool]:
        """Whether other adapters are waited for that have no slot, and whether one lacks only that."""
        waited_for = False
        for lane in self._turns:
            if lane.takes_slot and lane.adapter_id != adapter_id and lane.adapter_id not in slots.residents:
                if lane.has_place:
                    return True, True
                waited_for = True
        return waited_for, False

    async def enter(
        self, task: str, adapter_id: str | None = None, places: int = 1, *, let_in: bool = False
    ) -> Gate:
        """Wait for a request's places; as long as it takes, and whoever else waits, where it was `let_in`.

        Raises TooManyRequests (429) where the task's queue is full, Unavailable (503) where the gateway's is,
        or where they did not come free in time. Cancelling the wait leaves the queue as if the request had
        never come.
        """
        gate = self.try_enter(task, adapter_id, places)
        if gate is not None:
            return gate
        gate = self._gates[task]
        if not let_in:
            self.check_waiting(task, gate.waiting)
        await self._queue(gate, adapter_id, places, None if let_in else self.queue_timeout_s)
        return gate

    def gate(self, task: str) -> Gate:
        """Raises KeyError for an unknown task."""
        return self._gates[task]

    def check_waiting(self, task: str, waiting: int) -> None:
        """Raises TooManyRequests, Unavailable where one more may not wait beside so many of the same task."""
        gate = self._gates[task]
        if waiting >= gate.max_waiting:
            flying = f"{gate.in_flight} requests in flight and " if gate.in_flight else ""
            raise TooManyRequests(
                f"'{task}' has {flying}{waiting} waiting, the most that may.", retry_after_s=1
            )
        if self.waiting >= self.max_waiting:
            raise Unavailable(
                f"{self.waiting} requests are waiting already, the most that may.",
                code="overloaded",
                retry_after_s=1,
            )

    def too_late(self) -> Unavailable:
        """The 503 for a wait that was too long."""
        return Unavailable(
            f"No place came free within {self.queue_timeout_s:.0f} s.", code="overloaded", retry_after_s=5
        )

    def leave(self, gate: Gate, adapter_id: str | None = None, places: int = 1) -> None:
        """Give a request's places back and let the next in turn have them."""
        self.in_flight -= places
        gate.in_flight -= places
        self._busy[adapter_id] -= 1
        if self._slots is not None and adapter_id is not None:
            self._slots.leave(adapter_id)
        if self._turns:
            self._admit_waiting()
        if self.awaited is not None:
            self.awaited()

    def has_room(self, task: str) -> bool:
        """Whether a place is free. Raises KeyError for an unknown task."""
        gate = self._gates[task]
        return gate.in_flight < gate.max_in_flight and self.in_flight < self.max_in_flight

    def try_beside(self, adapter_id: str | None) -> bool:
        """A place outside every bound, for what no client waits for; False where a client's request waits,
        here or in another worker.

        `leave_beside` must follow a True. The adapter's LoRA slot is free again right after it.
        """
        if self.waiting or self._waited_elsewhere() or not self._has_slot(adapter_id):
            return False
        self._busy[adapter_id] += 1
        return True

    def leave_beside(self, adapter_id: str | None) -> None:
        """Give a place of `try_beside` back."""
        self._busy[adapter_id] -= 1
        if self._slots is not None and adapter_id is not None:
            self._slots.leave(adapter_id)
            self._slots.vacate(adapter_id)
        if self._turns:
            self._admit_waiting()

    async def _queue(self, gate: Gate, adapter_id: str | None, places: int, timeout_s: float | None) -> None:
        waiter = Waiter(places)
        lane = gate.lanes.get(adapter_id)
        if lane is None:
            lane = gate.lanes[adapter_id] = AdapterQueue(gate, adapter_id)
            self._turns[lane] = None
        lane.queue.append(waiter)
        self._count(gate, 1)
        if self._slots is not None or places > 1:
            self._admit_waiting()  # it may only have had to wait for its turn, and others could not go on
        try:
            async with asyncio.timeout(timeout_s):
                await waiter.admitted
        except BaseException as error:
            if waiter.admitted.done() and not waiter.admitted.cancelled():
                self.leave(gate, adapter_id, places)  # admitted and given up in the same turn of the loop
            elif waiter in lane.queue:
                lane.queue.remove(waiter)
                self._forsake(waiter, gate)
                if not lane.queue:
                    self._close(lane)
                self._count(gate, -1)
                if self._turns:
                    self._admit_waiting()  # it may have been what others had to give way to
            if isinstance(error, TimeoutError):
                raise self.too_late() from None
            raise

    def _count(self, gate: Gate, change: int) -> None:
        gate.waiting += change
        self.count_waiting(gate.task, change)

    def count_waiting(self, task: str, change: int) -> None:
        """So many requests more wait, or no longer do."""
        self.waiting += change
        self._on_waiting(task, change)

    def _admit_waiting(self) -> None:
        """Fill the free places, one from each queue in turn; a queue that cannot go on keeps its turn."""
        admitted = True
        while admitted and self._turns:
            admitted = False
            now = self._clock()  # one for all: none may find a slot that was not free yet for one before it
            for lane in list(self._turns):
                if self.in_flight >= self.max_in_flight:
                    return
                if self._admit_first(lane, now):
                    admitted = True
        if self._slots is not None:
            self._look_again(self._slots)

    def _admit_first(self, lane: AdapterQueue, now: float) -> bool:
        """The first of a queue, where it may go on."""
        queue, gate = lane.queue, lane.gate
        while queue and queue[0].admitted.done():  # cancelled, and its own coroutine has yet to notice
            self._forsake(queue.popleft(), gate)
            self._count(gate, -1)
        if not queue:
            self._close(lane)
            return True
        waiter = queue[0]
        missing = min(waiter.places, gate.max_in_flight) - waiter.taken
        if missing > 0 and not lane.has_place:
            return False
        if missing > 1:
            return self._gather(lane, waiter)
        if not self._has_slot(lane.adapter_id, now):
            return False
        del self._turns[lane]
        queue.popleft()
        if queue:
            self._turns[lane] = None
        else:
            del gate.lanes[lane.adapter_id]
        self._count(gate, -1)
        gate.in_flight += waiter.places - waiter.taken
        self.in_flight += waiter.places - waiter.taken
        self._busy[lane.adapter_id] += 1
        if self._gathering is waiter:
            self._gathering = None
        waiter.admitted.set_result(None)
        return True

    def _gather(self, lane: AdapterQueue, waiter: Waiter) -> bool:
        """One place more for a request of several, whose turn comes again after the others'."""
        if self._gathering is not None and self._gathering is not waiter:
            return False
        self._gathering = waiter
        waiter.taken += 1
        lane.gate.in_flight += 1
        self.in_flight += 1
        del self._turns[lane]
        self._turns[lane] = None
        return True

    def _forsake(self, waiter: Waiter, gate: Gate) -> None:
        """Take back what a request has gathered that waits no longer."""
        if self._gathering is waiter:
            self._gathering = None
        gate.in_flight -= waiter.taken
        self.in_flight -= waiter.taken
        waiter.taken = 0

    def _close(self, lane: AdapterQueue) -> None:
        del self._turns[lane]
        del lane.gate.lanes[lane.adapter_id]

    def _look_again(self, slots: Slots) -> None:
        """When an idle adapter's least residency is over, nothing else may happen that wakes a waiter."""
        due_s = slots.due_in(self._clock()) if self._rivals(slots)[1] else None
        if due_s is None:
            return
        loop = asyncio.get_running_loop()
        due = loop.time() + due_s + 0.001
        if self._timer is not None:
            if self._timer.when() <= due:
                return
            self._timer.cancel()
        self._timer = loop.call_at(due, self._due)

    def _due(self) -> None:
        self._timer = None
        if self._turns:
            self._admit_waiting()


def share(bound: int, worker: int, workers: int) -> int:
    """Of `bound`, the part of one worker: all parts together are the bound."""
    return bound // workers + (worker < bound % workers)
