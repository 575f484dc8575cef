"""A gateway that runs batches and kills itself at a moment that its arguments name.

    python -m tests.support.batches.batch_program FOLDER URL [MOMENT:COUNT]

FOLDER is the state directory, URL the engine's; MOMENT is one of `MOMENTS`, and COUNT how often it must come.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gateway.app import Gateway
from gateway.batches import runner
from gateway.batches.database import Store
from tests.support.stack import config_of, eventually, write_report

MOMENTS = (
    "half_a_result",
    "unsynced_result",
    "validated",
    "finalizing",
    "before_end",
    "after_end",
    "counted",
)


def main() -> None:
    folder, url = Path(sys.argv[1]), sys.argv[2]
    if len(sys.argv) > 3:
        moment, _, count = sys.argv[3].partition(":")
        arm(moment, int(count))
    asyncio.run(serve(folder, url))


async def serve(folder: Path, url: str) -> None:
    """Until there is nothing to do any more."""
    config = config_of(folder, batches={"max_in_flight": 4})
    write_report(config, url=url, state="ready", started_at=1.0)
    gateway = Gateway(config)
    async with gateway.following():
        runner, library = gateway.batches.runner, gateway.batches.library

        async def nothing_to_do() -> bool:
            return runner.has_lease and not await library.ask(lambda store: store.open_batches())

        await eventually(nothing_to_do, 600)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def arm(moment: str, count: int) -> None:
    """Put the kill in its place."""
    left = count

    def reached() -> bool:
        nonlocal left
        left -= 1
        return left == 0

    pwrite, fsync = os.pwrite, os.fsync

    def half(handle: int, data: Any, offset: int) -> int:
        if reached():
            pwrite(handle, bytes(data)[: len(data) // 2], offset)
            die()
        return pwrite(handle, data, offset)

    def unsynced(fd: Any) -> None:
        if reached():
            die()
        fsync(fd)

    if moment == "half_a_result":
        os.pwrite = half
    elif moment == "unsynced_result":
        os.fsync = unsynced
    elif moment == "counted":
        runner.LOOK_EVERY_S = 0.0  # else all is done before the first
        _around(Store, "count", reached, before=False)
    elif moment in ("before_end", "after_end"):
        _around(Store, "end", reached, before=moment == "before_end")
    else:
        status = {"validated": "in_progress"}.get(moment, moment)
        move = Store.move

        def moved(self: Store, *given: Any, **more: Any) -> bool:
            done = move(self, *given, **more)
            if given[2] == status and reached():
                die()
            return done

        Store.move = moved  # type: ignore[method-assign]


def _around(kind: type[Any], name: str, reached: Callable[[], bool], *, before: bool) -> None:
    original = getattr(kind, name)

    def wrapped(self: Any, *given: Any, **more: Any) -> Any:
        due = reached()
        if due and before:
            die()
        answer = original(self, *given, **more)
        if due:
            die()
        return answer

    setattr(kind, name, wrapped)


if __name__ == "__main__":
    main()
