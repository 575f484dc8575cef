"""Suspects that wait for their turn, first come first served; who need not wait any more goes at once.

It waits and decides nothing itself: who is a suspect is asked (`judge`), the turn among workers is taken
(`try_turn`).
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass

from gateway.admission.suspects import Verdict
from gateway.admission.turns.pace import Pace
from gateway.errors import RequestError

logger = logging.getLogger("gateway.admission.suspect_line")

TURN_S = 30.0
"""A suspect that runs for longer keeps the next one waiting no more."""
LOOK_S = 0.1
"""Between two looks while any waits: at the turn, which another worker may have, and at the time."""
LEAST_RETRY_S = 5
"""One turn is seldom over sooner."""


class Turn:
    """A suspect's, from before it is sent until it is answered or `TURN_S` are over."""

    def __init__(self, digest: str, descriptor: int | None, over: Callable[[], None]) -> None:
        self.digest = digest
        self._descriptor = descriptor
        self._over = over
        self._open = True
        self._timer = asyncio.get_running_loop().call_later(TURN_S, self.give_back)

    def give_back(self) -> None:
        """The next one's turn. Idempotent."""
        if self._open:
            self._open = False
            self._timer.cancel()
            if self._descriptor is not None:
                os.close(self._descriptor)
            self._over()


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    digest: str
    came: float
    goes: asyncio.Future[Turn | None]


class SuspectLine:
    """Requests that were in flight when an engine died, tried again one at a time; of one event loop."""

    def __init__(
        self,
        judge: Callable[[str, float], Verdict],
        try_turn: Callable[[], int | None],
        look: Callable[[], None],
        clock: Callable[[], float],
    ) -> None:
        """`judge` is given a digest and when it came, and raises RequestError for one that is sent no more.
        `try_turn` is the turn among workers (`SuspectFile.try_turn`); `look` learns what other workers know,
        before each of the looks that time alone brings.
        """
        self._judge = judge
        self._try_turn = try_turn
        self._look = look
        self._clock = clock
        self._waiting: list[_Waiting] = []
        self._turn: Turn | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._pace = Pace()

    def __len__(self) -> int:
        return len(self._waiting)

    def retry_after_s(self) -> int:
        """When it is worth coming again, by how quickly the line has moved."""
        return max(LEAST_RETRY_S, self._pace.retry_after_s(len(self._waiting) + 1, self._clock()))

    async def turn(self, digest: str) -> Turn | None:
        """Its turn, which has to be given back; None where it may go without. Raises RequestError."""
        if not self._waiting:
            self._pace.begins(self._clock())
        one = _Waiting(digest, self._clock(), asyncio.get_running_loop().create_future())
        self._waiting.append(one)
        try:
            self.go_on()
            return await one.goes
        except BaseException:
            # given up in the same turn of the loop
            if one.goes.done() and not one.goes.cancelled() and one.goes.exception() is None:
                given = one.goes.result()
                if given is not None:
                    given.give_back()
            raise
        finally:
            if one in self._waiting:
                self._waiting.remove(one)

    def go_on(self) -> None:
        """Let go who waits in vain, and the first of the others where nobody has the turn."""
        for one in self._waiting.copy():
            try:
                self._goes(one)
            except RequestError as error:
                one.goes.set_exception(error)
            if one.goes.done():
                self._waiting.remove(one)
        if self._timer is None and self._waiting:
            self._timer = asyncio.get_running_loop().call_later(LOOK_S, self._again)

    def _goes(self, one: _Waiting) -> None:
        """Raises RequestError."""
        if one.goes.done():
            return
        if self._judge(one.digest, one.came) != "suspect":
            one.goes.set_result(None)
        elif self._turn is None and (turn := self._taken(one.digest)) is not None:
            self._turn = turn
            self._pace.lets_in(self._clock())
            one.goes.set_result(turn)

    def _taken(self, digest: str) -> Turn | None:
        try:
            descriptor = self._try_turn()
        except OSError as error:  # then no other worker is waited for
            logger.error("suspects cannot take turns with other workers: %s", error)
            return Turn(digest, None, self._is_over)
        return None if descriptor is None else Turn(digest, descriptor, self._is_over)

    def _is_over(self) -> None:
        self._turn = None
        self.go_on()

    def _again(self) -> None:
        self._timer = None
        self._look()
        self.go_on()
