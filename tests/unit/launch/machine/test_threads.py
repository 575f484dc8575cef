"""Blocking work beside the loop: its result or its error, and a wait that may be given up."""

from __future__ import annotations

import asyncio
import threading

import pytest

from launch.machine.threads import in_thread


def test_result_and_error_come_back() -> None:
    def divide(one: int, other: int = 1) -> float:
        assert threading.current_thread().daemon
        return one / other

    assert asyncio.run(in_thread(divide, 6, other=3)) == 2
    with pytest.raises(ZeroDivisionError):
        asyncio.run(in_thread(divide, 1, other=0))


def test_wait_that_is_given_up_leaves_the_thread_to_its_end() -> None:
    going, on, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        going.set()
        on.wait(20)
        ended.set()

    async def leave() -> None:
        waiting = asyncio.create_task(in_thread(work))
        await asyncio.to_thread(going.wait, 20)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(leave())  # it ends though the thread does not
    assert not ended.is_set()
    on.set()
    assert ended.wait(20)
