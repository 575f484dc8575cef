"""The turns: who waits for a place, and who of them goes on when one comes free."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from gateway.admission.turns.fair_turns import (
    Claimant,
    Shares,
    Whose,
    contender_of,
    path_of,
    weighted,
)
from gateway.admission.turns.fullness import who_gives_way
from gateway.admission.turns.queues import AdapterQueue, Bound, Gate, Waiter
from gateway.admission.turns.residency import Residency
from gateway.errors import RequestError

OVER_S = 0.05
"""Until all are looked at again where a slot may be had already, by somebody who lacks more than that."""


class Turns:
    """Beside the bound of the whole gateway. Nobody is awaited here: a waiter hears by its own future.

    Places go round the tenants that wait, a tenant's keys, and a key's tasks (`fair_turns`); within a queue,
    first come is first served, and one that cannot go on yet keeps its turn.
    """

    def __init__(
        self,
        whole: Bound,
        residency: Residency,
        count: Callable[[str, int], None],
        clock: Callable[[], float],
    ) -> None:
        """`count` hears of each request of a task that begins to wait (1) and no longer does (-1)."""
        self._whole = whole
        self._residency = residency
        self._count_waiting = count
        self._clock = clock
        self.lanes: dict[AdapterQueue, None] = {}
        self.owners = Shares()
        self._lanes_of: dict[Claimant, dict[AdapterQueue, None]] = {}
        """Of each that waits; whose first is served goes to the end."""
        self._gates: dict[Gate, None] = {}
        """Those that are waited for."""
        self._gathering: Waiter | None = None
        self._timer: asyncio.TimerHandle | None = None

    def join(self, gate: Gate, adapter_id: str | None, whose: Whose, waiter: Waiter) -> AdapterQueue:
        """A request begins to wait."""
        owner = self.owners.joins(path_of(whose, gate.task, fan_out=waiter.let_in))
        lane = gate.lanes.get(adapter_id, {}).get(owner)
        if lane is None:
            lane = gate.add(adapter_id, owner)
            self.lanes[lane] = None
            self._lanes_of.setdefault(owner, {})[lane] = None
        lane.queue.append(waiter)
        if not gate.waiting:
            gate.pace.begins(self._clock())
        self._count(gate, 1)
        if self._residency.bounded or waiter.places > 1:
            self.go_on()  # it may only have had to wait for its turn, and others could not go on
        return lane

    def leave(self, lane: AdapterQueue, waiter: Waiter) -> None:
        """It waits no more, and was not let in."""
        lane.queue.remove(waiter)
        self.owners.leaves(lane.owner)
        self._forsake(waiter, lane.gate)
        if not lane.queue:
            self._close(lane)
        self._count(lane.gate, -1)

    def push_out(self, lanes: Iterable[AdapterQueue], whose: Whose, refusal: RequestError) -> None:
        """Refuse who gives way in `lanes` to a request of that key; where nobody does, raise the refusal."""
        found = who_gives_way(lanes, whose)
        if found is None:
            raise refusal
        lane, waiter = found
        self.leave(lane, waiter)
        waiter.pushed_out = True
        waiter.admitted.set_exception(refusal)
        waiter.admitted.exception()  # its coroutine may be cancelled before it looks

    @property
    def gathered(self) -> int:
        """Places that one of several has already, and waits for the others."""
        return self._gathering.taken if self._gathering is not None else 0

    def go_on(self) -> None:
        """Fill the free places, in turn one from each that shares them with others."""
        while self._may_go_on():
            now = self._clock()  # one for all: none may find a slot that was not free yet for one before it
            admitted, served, refused = False, set[Claimant](), set[str | None]()
            for owner in self.owners.in_order():
                for lane in (*self._lanes_of[owner],):
                    contender = contender_of(owner)
                    if contender not in served and self._admit_first(lane, now, refused):
                        if not self._may_go_on():
                            return
                        admitted = True
                        served.add(contender)
            if not admitted:
                return self._look_again(now)

    def _may_go_on(self) -> bool:
        """Whether there is a place, also of a task that is waited for; who gives the next back asks again."""
        # Who gathers its places may have all that it needs.
        return self._whole.has_place and (
            self._gathering is not None or any(gate.has_place for gate in self._gates)
        )

    def _admit_first(self, lane: AdapterQueue, now: float, refused: set[str | None]) -> bool:
        """The first of a queue, where it may go on; one that cannot keeps its turn.

        `refused`: adapters that may not go to the engine as things are, however many wait for them.
        """
        queue, gate = lane.queue, lane.gate
        while queue and queue[0].admitted.done():  # cancelled, and its own coroutine has yet to notice
            self._forsake(queue.popleft(), gate)
            self.owners.leaves(lane.owner)
            self._count(gate, -1)
        if not queue:
            self._close(lane)
            return True
        waiter = queue[0]
        # A bound may have shrunk since it came: it waits for no more places than there are, and counts with
        # all of its own, which its end gives back.
        missing = min(waiter.places, gate.max_in_flight, self._whole.max_in_flight) - waiter.taken
        waiter.missing = missing
        if missing > 0 and not gate.has_place:
            return False
        if missing > 1:
            return self._gather(lane, waiter)
        # Last, since a yes takes a slot.
        adapter_id = lane.adapter_id
        if adapter_id in refused or not self._residency.admits(adapter_id, self.lanes, now):
            refused.add(adapter_id)
            return False
        queue.popleft()
        if queue:
            self._goes_behind(lane)
        else:
            self._close(lane)
        rest = waiter.places - waiter.taken
        self._charge(lane, waiter, rest)
        self.owners.leaves(lane.owner)
        self._count(gate, -1)
        for bound in (gate, self._whole):
            bound.pace.lets_in(now)
            bound.in_flight += rest
        self._residency.busy[adapter_id] += 1
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
        self._charge(lane, waiter, 1)
        lane.gate.in_flight += 1
        self._whole.in_flight += 1
        self._goes_behind(lane)
        return True

    def _charge(self, lane: AdapterQueue, waiter: Waiter, places: int) -> None:
        cost = waiter.cost * places / waiter.places
        self.owners.has_had(lane.owner, cost, weighted(cost, fan_out=waiter.let_in))

    def _forsake(self, waiter: Waiter, gate: Gate) -> None:
        """Take back what a request has gathered that waits no longer."""
        if self._gathering is waiter:
            self._gathering = None
        gate.in_flight -= waiter.taken
        self._whole.in_flight -= waiter.taken
        waiter.taken = 0

    def _goes_behind(self, lane: AdapterQueue) -> None:
        """Of its owner's lanes, which rank alike, it is the last."""
        of_owner = self._lanes_of[lane.owner]
        del of_owner[lane]
        of_owner[lane] = None

    def _close(self, lane: AdapterQueue) -> None:
        del self.lanes[lane]
        del self._lanes_of[lane.owner][lane]
        if not self._lanes_of[lane.owner]:
            del self._lanes_of[lane.owner]
        lane.gate.drop(lane)

    def _count(self, gate: Gate, change: int) -> None:
        gate.waiting += change
        if gate.waiting:
            self._gates[gate] = None
        else:
            self._gates.pop(gate, None)
        self._count_waiting(gate.task, change)

    def _look_again(self, now: float) -> None:
        """When an idle adapter's least residency is over, nothing else may happen that wakes a waiter.

        Where it is over already (0), who waits for that slot lacks something else, as of `now`; others may
        wait for one of another engine, whose time comes later.
        """
        due_s = self._residency.due_in(self.lanes, now)
        if due_s is None:
            return
        loop = asyncio.get_running_loop()
        # uvloop's timers count whole milliseconds, and may be a little early.
        due = loop.time() + (due_s or OVER_S) + 0.001
        if self._timer is not None:
            if self._timer.when() <= due:
                return
            self._timer.cancel()
        self._timer = loop.call_at(due, self._due)

    def _due(self) -> None:
        self._timer = None
        self.go_on()
