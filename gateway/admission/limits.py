"""Bounds: how many requests run at once, how many wait, and whose turn it is."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator

from gateway.admission.turns.fair_turns import Claimant, Claimants
from gateway.admission.turns.fullness import gateway_is_full, task_is_full, who_gives_way
from gateway.admission.turns.lora_slots import OnResident, Slots, takes_slot
from gateway.admission.turns.pace import Pace
from gateway.admission.turns.queues import AdapterQueue, Gate, Waiter, residency_of
from gateway.config.document import Config
from gateway.errors import RequestError, Unavailable

OnWaiting = Callable[[str, int], None]


def _unobserved(task: str, change: int) -> None:
    pass


def _nowhere() -> bool:
    return False


class Admission:
    """Bounds on requests in flight and waiting, for each task and for the gateway, and the LoRA slots.

    A task at its own bound is answered 429, a gateway at its own 503. Places that come free go round the keys
    that wait (`fair_turns`), and round the queues of one key; within a queue, first come is first served, and
    one that cannot go on yet keeps its turn. Where no more may wait, the newest request of the key that has
    most waiting gives way to one of a key that has fewer: a flood refuses itself. A request of several
    sequences takes as many places, at most all that its task has: where they are not free at once, one in
    each of its turns, and only one request at a time gathers them, so that no two wait for each other. Where
    there are more adapters than the engine has slots, `lora_slots.Slots` decides which of them may be at the
    engine together. With several workers each has its share of every bound (`share`), of the slots at least
    one, so that the engine may meet more adapters than it has slots for a moment; turns go round the keys in
    each worker.
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
        self._owners = Claimants()
        self._pace = Pace()
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
        return residency_of(self._turns, self._slots, self._busy, self._clock())

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
        self,
        task: str,
        adapter_id: str | None = None,
        places: int = 1,
        *,
        key: str = "",
        cost: float | None = None,
        let_in: bool = False,
    ) -> Gate:
        """Wait for a request's places; as long as it takes, and whoever else waits, where it was `let_in`.

        `cost` is what it takes of its key's turns, in tokens; without one, its places.

        Raises TooManyRequests (429) where the task's queue is full, Unavailable (503) where the gateway's is,
        or where they did not come free in time. Cancelling the wait leaves the queue as if the request had
        never come.
        """
        gate = self.try_enter(task, adapter_id, places)
        if gate is not None:
            return gate
        gate = self._gates[task]
        if not let_in:
            self._make_room(gate, key)
        waiter = Waiter(places, places if cost is None else cost, let_in)
        await self._queue(gate, adapter_id, key, waiter)
        return gate

    def gate(self, task: str) -> Gate:
        """Raises KeyError for an unknown task."""
        return self._gates[task]

    def check_waiting(self, task: str, waiting: int) -> None:
        """Raises TooManyRequests, Unavailable where one more may not wait beside so many of the same task."""
        gate = self._gates[task]
        if waiting >= gate.max_waiting:
            raise task_is_full(gate, waiting, self._clock())
        if self.waiting >= self.max_waiting:
            raise gateway_is_full(self.waiting, self._pace, self._clock())

    def _make_room(self, gate: Gate, key: str) -> None:
        """As `check_waiting`, where nobody gives way either."""
        if gate.waiting >= gate.max_waiting:
            lanes = [lane for of_keys in gate.lanes.values() for lane in of_keys.values()]
            self._push_out(lanes, key, task_is_full(gate, gate.waiting, self._clock()))
        if self.waiting >= self.max_waiting:
            self._push_out(self._turns, key, gateway_is_full(self.waiting, self._pace, self._clock()))

    def _push_out(self, lanes: Iterable[AdapterQueue], key: str, refusal: RequestError) -> None:
        """Refuse who gives way to a request of `key`, or that one: it is raised."""
        found = who_gives_way(lanes, key)
        if found is None:
            raise refusal
        lane, waiter = found
        self._leave_queue(lane, waiter)
        waiter.pushed_out = True
        waiter.admitted.set_exception(refusal)
        waiter.admitted.exception()  # its coroutine may be cancelled before it looks

    def too_late(self) -> Unavailable:
        """The 503 for a wait that was too long."""
        return Unavailable(
            f"No place came free within {self.queue_timeout_s:.0f} s.",
            code="overloaded",
            retry_after_s=self._pace.retry_after_s(self.waiting, self._clock()),
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

    def settle(self, key: str, unused: float) -> None:
        """A request that had waited has ended, and took so much less than its `cost`."""
        self._owners.settles(key, unused)

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

    async def _queue(self, gate: Gate, adapter_id: str | None, key: str, waiter: Waiter) -> None:
        owner = self._owners.joins(key)
        lane = gate.lanes.get(adapter_id, {}).get(key)
        if lane is None:
            lane = gate.add(adapter_id, owner)
            self._turns[lane] = None
        lane.queue.append(waiter)
        now = self._clock()
        if not gate.waiting:
            gate.pace.begins(now)
        if not self.waiting:
            self._pace.begins(now)
        self._count(gate, 1)
        if self._slots is not None or waiter.places > 1:
            self._admit_waiting()  # it may only have had to wait for its turn, and others could not go on
        try:
            async with asyncio.timeout(None if waiter.let_in else self.queue_timeout_s):
                await waiter.admitted
        except BaseException as error:
            if waiter.pushed_out:
                raise
            if waiter.admitted.done() and not waiter.admitted.cancelled():
                self.leave(
                    gate, adapter_id, waiter.places
                )  # admitted and given up in the same turn of the loop
            elif waiter in lane.queue:
                self._leave_queue(lane, waiter)
                if self._turns:
                    self._admit_waiting()  # it may have been what others had to give way to
            if isinstance(error, TimeoutError):
                raise self.too_late() from None
            raise

    def _leave_queue(self, lane: AdapterQueue, waiter: Waiter) -> None:
        """It waits no more, and was not let in."""
        lane.queue.remove(waiter)
        self._owners.leaves(lane.owner)
        self._forsake(waiter, lane.gate)
        if not lane.queue:
            self._close(lane)
        self._count(lane.gate, -1)

    def _count(self, gate: Gate, change: int) -> None:
        gate.waiting += change
        self.count_waiting(gate.task, change)

    def count_waiting(self, task: str, change: int) -> None:
        """So many requests more wait, or no longer do."""
        self.waiting += change
        self._on_waiting(task, change)

    def _admit_waiting(self) -> None:
        """Fill the free places, one from each key, or from each queue of one key, in turn."""
        admitted = True
        while admitted and self._turns:
            admitted = False
            now = self._clock()  # one for all: none may find a slot that was not free yet for one before it
            several, served = self._owners.are_several, set[Claimant]()
            for lane in sorted(self._turns, key=_tag) if several else list(self._turns):
                if self.in_flight >= self.max_in_flight:
                    return
                if not (several and lane.owner in served) and self._admit_first(lane, now):
                    admitted = True
                    served.add(lane.owner)
        if self._slots is not None:
            self._look_again(self._slots)

    def _admit_first(self, lane: AdapterQueue, now: float) -> bool:
        """The first of a queue, where it may go on; one that cannot keeps its turn."""
        queue, gate = lane.queue, lane.gate
        while queue and queue[0].admitted.done():  # cancelled, and its own coroutine has yet to notice
            self._forsake(queue.popleft(), gate)
            self._owners.leaves(lane.owner)
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
        queue.popleft()
        del self._turns[lane]
        if queue:
            self._turns[lane] = None
        else:
            gate.drop(lane)
        rest = waiter.places - waiter.taken
        self._owners.has_had(lane.owner, waiter.cost * rest / waiter.places)
        self._owners.leaves(lane.owner)
        gate.pace.lets_in(now)
        self._pace.lets_in(now)
        self._count(gate, -1)
        gate.in_flight += rest
        self.in_flight += rest
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
        self._owners.has_had(lane.owner, waiter.cost / waiter.places)
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
        lane.gate.drop(lane)

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


def _tag(lane: AdapterQueue) -> tuple[float, int]:
    return lane.owner.tag, lane.owner.waiting  # of two that have had as much, who asks for less


def share(bound: int, worker: int, workers: int) -> int:
    """Of `bound`, the part of one worker: all parts together are the bound."""
    return bound // workers + (worker < bound % workers)
