"""An event loop whose clock jumps: hours of waiting take no time, and what would wait for ever fails."""

from __future__ import annotations

import asyncio

from launch.simulation.replay.jumping_loop import JumpingLoop, run_jumping

VirtualLoop = JumpingLoop
run_virtual = run_jumping


async def passed(seconds: float) -> None:
    """Wait for so many seconds of the virtual clock."""
    assert isinstance(asyncio.get_running_loop(), VirtualLoop), "these seconds would be real ones"
    await asyncio.sleep(seconds)


def now() -> float:
    return asyncio.get_running_loop().time()
