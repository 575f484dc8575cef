"""Where pipelines are let in: once, as a whole, with room for the calls that they will make.

Were each call admitted by itself, a pipeline could be refused after its first stage has run, and under load
most are: of 20 with 40 elements each, 15. So a pipeline begins only while the tasks of its stages have room
for what it is expected to ask of them, and waits here until then; once it has begun, none of its calls is
refused for want of room. It holds no place between its calls, so no two can hold what the other waits for.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from gateway.admission.limits import Admission
from gateway.admission.turns.fair_turns import Claimant, Shares, Whose, path_of, rank_of, whose_is, whose_of
from gateway.admission.turns.fullness import ahead_of, comes_too_late, greediest
from gateway.errors import RequestError

NOBODYS = whose_of("", "")


class Seat:
    """A pipeline that has begun. Its calls take turns where they are more than their task has places."""

    def __init__(self, lobby: Lobby, expected: Mapping[str, int]) -> None:
        self._lobby = lobby
        self._expected = Counter(expected)
        self.turns: Mapping[str, asyncio.Semaphore] = {
            task: asyncio.Semaphore(lobby.admission.gates[task].max_in_flight) for task in expected
        }
        """By task, of those whose calls are let in already; who has a turn says so by `begins`."""

    def begins(self, task: str) -> None:
        """One of the calls that were expected has its turn."""
        if self._expected[task]:
            self._expected[task] -= 1
            self._lobby.expected[task] -= 1

    def all_known(self) -> None:
        """Every call that it will make is under way or waits for its turn: no other is expected."""
        if not self._expected:
            return
        self._lobby.expected -= self._expected
        self._expected.clear()
        self._lobby.look()


class Lobby:
    """Beside an Admission, with turns of its own: by tenant, key and pipeline, by the calls that they make.

    Where no more may wait, the newest of the key that has most waiting gives way. Use it in one event loop.
    """

    def __init__(self, admission: Admission) -> None:
        self.admission = admission
        self._shares = Shares()
        self._lines: dict[Claimant, dict[asyncio.Future[Seat], Mapping[str, int]]] = {}
        """What those who wait want of calls, by whose they are; in a line in the order in which they came."""
        self._waiting = 0
        self.expected: Counter[str] = Counter()
        """By task, calls that those who have begun are yet to make."""

    @asynccontextmanager
    async def seat(
        self,
        name: str,
        expected: Mapping[str, int],
        whose: Whose = NOBODYS,
        left_s: float = math.inf,
    ) -> AsyncIterator[Seat]:
        """Wait until there is room for so many calls of each task; of one key who came first goes first.

        `left_s`: how long its client waits from now.

        Raises TooManyRequests (429) where as many pipelines wait as may, Unavailable (503) where the
        gateway's queue is full or no room came in time; DeadlineUnreachable (429) and DeadlineExceeded (504)
        where the client's time is too short. KeyError for an unknown task.
        """
        gates = self.admission.gates
        # What is asked for at once must fit beside a full house, or it would wait for an empty one.
        wanted = {task: min(calls, max(1, gates[task].max_waiting // 2)) for task, calls in expected.items()}
        if not self._lines and self._fits(wanted):
            seat = self._begun(wanted)
        else:
            seat = await self._wait(name, wanted, whose, left_s)
        try:
            yield seat
        finally:
            seat.all_known()

    def _fits(self, wanted: Mapping[str, int]) -> bool:
        """Half of each queue is for the calls of pipelines, the rest for those who ask a task by itself."""
        admission = self.admission
        calling = admission.waiting - self._waiting  # who waits here has no call yet
        load = admission.in_flight + calling + self.expected.total()
        most = max(1, admission.max_waiting // 2)
        if load + min(sum(wanted.values()), most) > admission.max_in_flight + admission.max_waiting // 2:
            # What is alone begins, however much it will ask for.
            return not load
        for task, calls in wanted.items():
            gate = admission.gates[task]
            load = gate.in_flight + gate.waiting + self.expected[task]
            if load and load + calls > gate.max_in_flight + gate.max_waiting // 2:
                return False
        return True

    def _begun(self, wanted: Mapping[str, int]) -> Seat:
        self.expected.update(wanted)
        return Seat(self, wanted)

    async def _wait(self, name: str, wanted: Mapping[str, int], whose: Whose, left_s: float) -> Seat:
        admission = self.admission
        self._make_room(name, whose, left_s)
        seat: asyncio.Future[Seat] = asyncio.get_running_loop().create_future()
        if not self._waiting_of(name):
            admission.gates[name].pace.begins(admission.clock())
        owner = self._shares.joins(path_of(whose, name))
        self._lines.setdefault(owner, {})[seat] = wanted
        # Set only while somebody waits here: each request that ends would have the call.
        admission.awaited = self.look
        self._count(name, 1)
        self.look()  # it may only be others that have to wait
        try:
            async with asyncio.timeout(min(admission.queue_timeout_s, left_s)):
                return await seat
        except BaseException as error:
            if seat.done() and not seat.cancelled() and seat.exception() is None:
                seat.result().all_known()  # let in and given up in the same turn of the loop
            if isinstance(error, TimeoutError):
                raise admission.too_late(left_s) from None
            raise
        finally:
            self._takes_out(owner, seat)
            self._shares.leaves(owner)
            self._count(name, -1)
            self.look()  # it may have been what others had to wait for

    def _count(self, name: str, change: int) -> None:
        self._waiting += change
        self.admission.count_waiting(name, change)

    def _takes_out(self, owner: Claimant, seat: asyncio.Future[Seat]) -> None:
        line = self._lines.get(owner, {})
        line.pop(seat, None)
        if not line:
            self._lines.pop(owner, None)

    def _waiting_of(self, name: str) -> Counter[Whose]:
        return Counter({whose_is(one): len(line) for one, line in self._lines.items() if one.name == name})

    def _make_room(self, name: str, whose: Whose, left_s: float) -> None:
        """Raises TooManyRequests, Unavailable, DeadlineUnreachable where it may not wait."""
        gate, waiting = self.admission.gates[name], self._waiting_of(name)
        wait_s = gate.pace.least_wait_s(ahead_of(waiting, whose))
        if wait_s >= left_s:
            raise comes_too_late(name, waiting.total(), wait_s, left_s, left_s)
        try:
            self.admission.check_waiting(name, waiting.total())
        except RequestError as refusal:
            found = greediest(waiting, whose)
            if found is None:
                raise
            self._push_out(name, found, refusal)

    def _push_out(self, name: str, whose: Whose, refusal: RequestError) -> None:
        """The newest that waits of that key's; where all of them leave just now, the refusal is raised."""
        owner = next(one for one in self._lines if one.name == name and whose_is(one) == whose)
        seat = next((one for one in reversed(self._lines[owner]) if not one.done()), None)
        if seat is None:
            raise refusal
        self._takes_out(owner, seat)
        seat.set_exception(refusal)
        seat.exception()  # its coroutine may be cancelled before it looks

    def look(self) -> None:
        """Let in whom there is room for; who has none yet is not passed by others that want the same task."""
        while (found := self._next()) is not None:
            owner, seat, wanted = found
            self._takes_out(owner, seat)
            calls = sum(wanted.values())
            self._shares.has_had(owner, calls, calls)
            for bound in (self.admission.gates[owner.name], self.admission):
                bound.pace.lets_in(self.admission.clock())
            seat.set_result(self._begun(wanted))
        if not self._lines:
            self.admission.awaited = None

    def _next(self) -> tuple[Claimant, asyncio.Future[Seat], Mapping[str, int]] | None:
        held: set[str] = set()
        for owner in sorted(self._lines, key=rank_of):
            for seat, wanted in self._lines[owner].items():
                if seat.done():
                    continue  # its own coroutine has yet to notice
                if held.isdisjoint(wanted) and self._fits(wanted):
                    return owner, seat, wanted
                held.update(wanted)
                break  # those behind it want the same tasks
        return None
