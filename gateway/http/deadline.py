"""The deadline of a connection, set anew with each step that it takes."""

from __future__ import annotations

import asyncio
import math
from abc import ABC, abstractmethod


class Deadline(ABC):
    """A base class, since another object beside each connection would be a hop more in each of its steps.

    One timer for a connection, which looks at the clock when it fires and sleeps again.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._deadline = math.inf
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf

    @abstractmethod
    def _late(self) -> None:
        """The deadline has come; it stands until another is set, and is not looked at again."""

    def _set_deadline(self, delay_s: float) -> None:
        self._deadline = deadline = self.loop.time() + delay_s
        if self._timer_at > deadline:
            self._arm(deadline)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, deadline: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = deadline
        self._timer = self.loop.call_at(deadline, self._check_deadline)

    def _check_deadline(self) -> None:
        self._timer = None
        self._timer_at = math.inf
        if self._deadline == math.inf:
            return
        if self._deadline > self.loop.time():
            self._arm(self._deadline)
        else:
            self._late()
