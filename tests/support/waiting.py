"""Waiting for what a test needs: by looking, where nothing tells of it. No other module lets real time pass.

It imports nothing of the project, so that programs of any environment may use it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

LOOK_EVERY_S = 0.005
CLIENT_S = 60.0
"""For so long a test's client waits: that a machine stands still for seconds must not end a request."""


async def eventually(condition: Callable[[], bool | Awaitable[bool]], limit_s: float = 5.0) -> None:
    """Look until it is so; of a counter, say, which has no event of its own.

    The limit counts looks: a machine that stands still for seconds must not use it up. Raises TimeoutError.
    """
    for _ in range(int(limit_s / LOOK_EVERY_S)):
        met = condition()
        if met if isinstance(met, bool) else await met:
            return
        await asyncio.sleep(LOOK_EVERY_S)
    raise TimeoutError(f"not so after {limit_s:g} s")


def until(condition: Callable[[], bool], limit_s: float = 60.0, look_every_s: float = 0.02) -> None:
    """Look until other programs have made it so. The limit counts looks. Raises TimeoutError."""
    for _ in range(int(limit_s / look_every_s)):
        if condition():
            return
        time.sleep(look_every_s)
    raise TimeoutError(f"not so after {limit_s:g} s")


async def turns(count: int = 50) -> None:
    """Let everything in this loop go on that can, sockets of one's own included, without any time."""
    for _ in range(count):
        await asyncio.sleep(0)


async def still(value: Callable[[], int]) -> int:
    """The value once it is over 0 and has stood still for so many turns of the loop that it is held."""
    seen = quiet = 0
    while quiet < 200 or not seen:
        await asyncio.sleep(0)
        now = value()
        quiet = quiet + 1 if now == seen else 0
        seen = now
    return seen


def calls(target: object, name: str) -> list[object]:
    """Put a counter before a method of one object: what it gave at each call from now on, oldest first."""
    whole = getattr(target, name)
    given: list[object] = []

    def counting(*arguments: object, **options: object) -> object:
        given.append(answer := whole(*arguments, **options))
        return answer

    setattr(target, name, counting)
    return given
