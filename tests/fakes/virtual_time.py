"""An event loop whose clock jumps: hours of waiting take no time, and what would wait for ever fails."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any


class _Jumping(selectors.SelectSelector):
    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise AssertionError("everybody waits, and nothing will wake anyone")
        self.loop.now += max(0.0, timeout)
        self.loop.turns += 1
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """Seconds begin at 0; `turns` counts how often the loop went round."""

    def __init__(self) -> None:
        self.now = 0.0
        self.turns = 0
        selector = _Jumping()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        return self.now


def run_virtual(work: Coroutine[Any, Any, None]) -> VirtualLoop:
    """Run to the end; the loop, for what it counted."""
    loop = VirtualLoop()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(work)
    return loop


async def passed(seconds: float) -> None:
    """Wait for so many seconds of the virtual clock."""
    assert isinstance(asyncio.get_running_loop(), VirtualLoop), "these seconds would be real ones"
    await asyncio.sleep(seconds)


def now() -> float:
    return asyncio.get_running_loop().time()
