"""Where pipelines are let in: once, as a whole, with room for the calls that they will make.

Were each call admitted by itself, a pipeline could be refused after its first stage has run, and under load
most are: of 20 with 40 elements each, 15. So a pipeline begins only while the tasks of its stages have room
for what it is expected to ask of them, and waits here until then; once it has begun, none of its calls is
refused for want of room. It holds no place between its calls, so no two can hold what the other waits for.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from gateway.admission.limits import Admission


class Seat:
    """A pipeline that has begun. Its calls take turns where they are more than their task has places."""

    def __init__(self, lobby: Lobby, expected: Mapping[str, int]) -> None:
        self._lobby = lobby
        self._expected = Counter(expected)
        self._turns = {task: asyncio.Semaphore(lobby.places(task)) for task in expected}

    def covers(self, task: str) -> bool:
        """Whether its calls of that task are let in already."""
        return task in self._turns

    @asynccontextmanager
    async def turn(self, task: str) -> AsyncIterator[None]:
        """One call of a task that it covers."""
        async with self._turns[task]:
            if self._expected[task]:
                self._expected[task] -= 1
                self._lobby.expected[task] -= 1
            yield

    def all_known(self) -> None:
        """Every call that it will make is under way or waits for its turn: no other is expected."""
        self._lobby.expected -= self._expected
        self._expected.clear()
        self._lobby.look()


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    name: str
    wanted: Mapping[str, int]
    seat: asyncio.Future[Seat]


class Lobby:
    """Beside an Admission. Use it in one event loop."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._queue: deque[_Waiting] = deque()
        self.expected: Counter[str] = Counter()
        """By task, calls that those who have begun are yet to make."""

    def places(self, task: str) -> int:
        """How many calls of a task may be at the engine at once."""
        return self._admission.gate(task).max_in_flight

    @asynccontextmanager
    async def seat(self, name: str, expected: Mapping[str, int]) -> AsyncIterator[Seat]:
        """Wait until there is room for so many calls of each task; who came first goes first.

        Raises TooManyRequests (429) where as many pipelines wait as may, Unavailable (503) where the
        gateway's queue is full or no room came in time. KeyError for an unknown task.
        """
        wanted = {task: min(calls, self._most(task)) for task, calls in expected.items()}
        seat = (
            self._begun(wanted) if not self._queue and self._fits(wanted) else await self._wait(name, wanted)
        )
        try:
            yield seat
        finally:
            seat.all_known()

    def _most(self, task: str) -> int:
        """What is asked for at once must fit beside a full house, or it would wait for an empty one."""
        return max(1, self._admission.gate(task).max_waiting // 2)

    def _fits(self, wanted: Mapping[str, int]) -> bool:
        """Half of each queue is for the calls of pipelines, the rest for those who ask a task by itself."""
        admission = self._admission
        calling = admission.waiting - len(self._queue)  # who waits here has no call yet
        load = admission.in_flight + calling + self.expected.total()
        most = max(1, admission.max_waiting // 2)
        if load + min(sum(wanted.values()), most) > admission.max_in_flight + admission.max_waiting // 2:
            return not load
        for task, calls in wanted.items():
            gate = admission.gate(task)
            load = gate.in_flight + gate.waiting + self.expected[task]
            if load and load + calls > gate.max_in_flight + gate.max_waiting // 2:
                return False
        return True

    def _begun(self, wanted: Mapping[str, int]) -> Seat:
        self.expected.update(wanted)
        return Seat(self, wanted)

    async def _wait(self, name: str, wanted: Mapping[str, int]) -> Seat:
        admission = self._admission
        admission.check_waiting(name, sum(place.name == name for place in self._queue))
        waiter: asyncio.Future[Seat] = asyncio.get_running_loop().create_future()
        place = _Waiting(name, wanted, waiter)
        self._queue.append(place)
        admission.awaited = self.look
        admission.count_waiting(name, 1)
        self.look()  # it may only be others that have to wait
        try:
            async with asyncio.timeout(admission.queue_timeout_s):
                return await waiter
        except BaseException as error:
            if waiter.done() and not waiter.cancelled():
                waiter.result().all_known()  # let in and given up in the same turn of the loop
            if isinstance(error, TimeoutError):
                raise admission.too_late() from None
            raise
        finally:
            if place in self._queue:
                self._queue.remove(place)
            admission.count_waiting(name, -1)
            self.look()

    def look(self) -> None:
        """Let in whom there is room for; who has none yet is not passed by others that want the same task."""
        held: set[str] = set()
        for place in list(self._queue):
            if place.seat.done():
                continue  # its own coroutine has yet to notice
            if held.isdisjoint(place.wanted) and self._fits(place.wanted):
                self._queue.remove(place)
                place.seat.set_result(self._begun(place.wanted))
            else:
                held.update(place.wanted)
        if not self._queue:
            self._admission.awaited = None
