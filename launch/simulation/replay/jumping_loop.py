"""An event loop whose clock jumps to what is waited for: the gateway's own code in simulated time."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any


class _Jumping(selectors.SelectSelector):
    """Where the loop would wait, its clock goes on instead."""

    loop: JumpingLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise AssertionError("everybody waits, and nothing will wake anyone")
        self.loop.now += max(0.0, timeout)
        self.loop.turns += 1
        # What a thread has sent to the loop meanwhile is still found.
        return super().select(0)


class JumpingLoop(asyncio.SelectorEventLoop):
    """Seconds begin at 0; `turns` counts how often the loop went round."""

    def __init__(self) -> None:
        self.now = 0.0
        self.turns = 0
        selector = _Jumping()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        return self.now


def run_jumping(work: Coroutine[Any, Any, None]) -> JumpingLoop:
    """Run to the end; the loop, for what it counted. Raises AssertionError where nothing would go on."""
    loop = JumpingLoop()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(work)
    return loop
