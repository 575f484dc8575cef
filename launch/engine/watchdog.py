"""A hang told from a busy engine: a completion that does not answer while no token is read or written."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from gateway.errors import EngineFailure


class Hang(EngineFailure):
    """The engine runs and does nothing."""


class Watchdog:
    """Asks for one token now and then; `probe` raises EngineFailure where it is refused."""

    def __init__(
        self,
        probe: Callable[[], Awaitable[object]],
        progress: Callable[[], Awaitable[float | None]],
        timeout_s: float,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._probe = probe
        self._progress = progress
        self._timeout_s = timeout_s
        self._pause = pause

    async def run(self) -> None:
        """Until it is cancelled. Raises Hang."""
        while True:
            await self._pause(self._timeout_s / 4)  # so a hang is known after 1.25 of the time, as a rule
            await self.look()

    async def look(self) -> None:
        """Probe once. Raises Hang where no answer comes in time and no progress was seen meanwhile."""
        before = await self._progress()
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._probe()
        except TimeoutError:
            now = await self._progress()
            if now is None or now == before:
                raise Hang(f"a completion had no answer within {self._timeout_s:.0f} s") from None
        except EngineFailure:
            return  # an error is an answer; a dead process is noticed by its end
