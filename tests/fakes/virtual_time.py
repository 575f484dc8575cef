"""An event loop whose clock jumps: hours of waiting take no time, and what would wait for ever fails."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec

from launch.simulation.replay.jumping_loop import JumpingLoop, run_jumping

VirtualLoop = JumpingLoop
run_virtual = run_jumping
P = ParamSpec("P")


def virtual(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """A test that is a coroutine, run in such a loop."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        run_virtual(test(*args, **kwargs))

    return run


async def passed(seconds: float) -> None:
    """Wait for so many seconds of the virtual clock."""
    assert isinstance(asyncio.get_running_loop(), VirtualLoop), "these seconds would be real ones"
    await asyncio.sleep(seconds)


def now() -> float:
    return asyncio.get_running_loop().time()
