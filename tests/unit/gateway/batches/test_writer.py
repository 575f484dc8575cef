"""Results on their way to disk: together in one sync, again where the disk is full, and never lost."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import pytest

from gateway.batches.results import LineResult
from gateway.batches.writer import Writer
from tests.support.waiting import eventually

pytestmark = pytest.mark.anyio


class Disk:
    """In the place of `Results`: what came in which call."""

    def __init__(self, failures: int = 0) -> None:
        self.folder = Path("/state/files")
        self.calls: list[list[int]] = []
        self.go_on = threading.Event()
        self.go_on.set()
        self.failures = failures

    def add(self, results: Iterable[LineResult]) -> None:
        self.go_on.wait(10)
        if self.failures:
            self.failures -= 1
            raise OSError(28, "No space left on device")
        self.calls.append([one.number for one in results])


def result(number: int) -> LineResult:
    return LineResult(number, True, True, b"x\n")


async def test_what_comes_while_others_are_written_goes_in_one_call() -> None:
    disk = Disk()
    disk.go_on.clear()
    writer = Writer(cast(Any, disk), 0.0, print)
    first = asyncio.ensure_future(writer.put(result(1)))
    await eventually(lambda: writer._writing is not None and not writer._pending)
    rest = asyncio.create_task(writer.put_all([result(2), result(3)]))
    await eventually(lambda: len(writer._pending) == 2)
    assert not first.done()
    disk.go_on.set()
    await asyncio.gather(first, rest)
    assert disk.calls == [[1], [2, 3]]


async def test_who_waits_hears_of_a_fault_of_ours_and_others_are_written() -> None:
    disk = Disk()
    add, faults = disk.add, [RuntimeError("no good")]

    def adding(results: Iterable[LineResult]) -> None:
        if faults:
            raise faults.pop()
        add(results)

    disk.add = adding  # type: ignore[method-assign]
    writer = Writer(cast(Any, disk), 0.0, print)
    async with asyncio.timeout(10):
        with pytest.raises(RuntimeError, match="no good"):
            await writer.put(result(1))
        await writer.put(result(2))
    assert disk.calls == [[2]]


async def test_full_disk_is_tried_again_and_the_mend_is_said() -> None:
    disk, said = Disk(failures=3), list[str]()
    await Writer(cast(Any, disk), 0.0, said.append).put(result(1))
    assert disk.calls == [[1]]
    assert set(said) == {
        "results of batches cannot be written in /state/files: No space left on device; make room there, or "
        "mend rights: they are kept, and tried again every 0 s"
    }


async def test_put_that_is_cancelled_is_written_all_the_same() -> None:
    disk = Disk()
    disk.go_on.clear()
    writer = Writer(cast(Any, disk), 0.0, print)
    putting = asyncio.ensure_future(writer.put(result(1)))
    await eventually(lambda: writer._writing is not None and not writer._pending)
    putting.cancel()
    disk.go_on.set()
    await writer.drain()
    assert disk.calls == [[1]]


async def test_whoever_breaks_off_on_a_full_disk_comes_to_an_end() -> None:
    disk = Disk(failures=1_000_000)
    writer = Writer(cast(Any, disk), 3600.0, print)
    waiting = asyncio.ensure_future(writer.put(result(1)))
    await eventually(lambda: disk.failures < 1_000_000)
    writer.give_up()
    async with asyncio.timeout(5):
        await writer.drain()
    await asyncio.wait([waiting])
    assert waiting.cancelled()
    disk.failures = 0
    again = asyncio.ensure_future(writer.put(result(2)))
    await writer.drain()
    await asyncio.wait([again])
    assert disk.calls == [[2]], "what it takes is kept all the same"
