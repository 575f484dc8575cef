"""One process runs a store's batches, as long as it says so; one that says nothing is taken for gone."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path
from typing import cast

import pytest

from gateway.batches.database import Store
from gateway.batches.lease import (
    IDLE_RENEW_S,
    IDLE_SILENT_S,
    RENEW_S,
    SILENT_S,
    Lease,
    is_gone,
    new_holder,
)
from gateway.batches.records import BatchRecord, Counts, FileRecord
from gateway.batches.storage import BatchStorage
from gateway.config.process import machine_id, started_ticks
from tests.fakes.virtual_time import passed, run_virtual
from tests.support.stack import config_of

FILE = FileRecord("file-1", "a", "batch", "in.jsonl", 10, 1, 9)
BATCH = BatchRecord("batch_1", "a", "/v1/chat/completions", "file-1", "o", "e", "validating", 1, 9, 60)


def have_work(store: Store) -> None:
    """One batch that is unfinished."""
    store.add_file(FILE, 100)
    assert store.add_batch(BATCH, 1)


class Sides:
    """Two processes over one store, and one clock."""

    def __init__(self, folder: Path) -> None:
        self.now = 0.0
        self.ended: set[str] = set()
        self.libraries = [BatchStorage(config_of(folder)) for _ in range(2)]
        self.a, self.b = (
            Lease(library, clock=lambda: self.now, is_gone=self.ended.__contains__)
            for library in self.libraries
        )

    def close(self) -> None:
        for one in self.libraries:
            one.close()


@pytest.fixture
async def sides(tmp_path: Path) -> AsyncIterator[Sides]:
    made = Sides(tmp_path)
    yield made
    made.close()


async def still(lease: Lease) -> bool:
    return await lease._library.ask(lambda store: store.still_runs(lease.holder))


@pytest.mark.anyio
async def test_a_holder_that_counts_on_keeps_it(sides: Sides) -> None:
    await sides.libraries[0].ask(have_work)
    assert await sides.a.take()
    for _ in range(5):
        assert not await sides.b.take()
        sides.now += SILENT_S - 1
        assert await still(sides.a)
    assert not await sides.b.take()
    assert sides.b.holder == ""


@pytest.mark.anyio
async def test_one_that_says_nothing_loses_it_and_hears_so(sides: Sides) -> None:
    await sides.libraries[0].ask(have_work)
    assert await sides.a.take()
    assert not await sides.b.take()
    sides.now += SILENT_S - 0.1
    assert not await sides.b.take()
    sides.now += 0.1
    assert await sides.b.take()
    assert not await still(sides.a)
    assert await still(sides.b)
    await sides.a.give_back()
    assert await still(sides.b), "what another gives back is not ours"


@pytest.mark.anyio
async def test_while_nothing_is_to_be_done_a_holder_may_be_silent_for_long(sides: Sides) -> None:
    assert await sides.a.take()
    assert not await sides.b.take()
    sides.now += IDLE_SILENT_S - 1
    assert not await sides.b.take()
    await sides.libraries[0].ask(have_work)
    sides.now += 2
    assert not await sides.b.take(), "it has had no time yet to hear of the batch"
    sides.now += SILENT_S - 1
    assert not await sides.b.take()
    sides.now += 1
    assert await sides.b.take()


@pytest.mark.anyio
async def test_one_that_never_comes_back_loses_it_without_work_too(sides: Sides) -> None:
    assert await sides.a.take()
    assert not await sides.b.take()
    sides.now += IDLE_SILENT_S
    assert await sides.b.take()


@pytest.mark.anyio
async def test_what_was_given_back_or_whose_process_ended_is_taken_at_once(sides: Sides) -> None:
    assert await sides.a.take()
    await sides.a.give_back()
    assert await sides.b.take()
    sides.ended.add(sides.b.holder)
    assert await sides.a.take()


@pytest.mark.anyio
async def test_of_two_that_find_it_free_one_has_it(sides: Sides) -> None:
    assert sorted(await asyncio.gather(sides.a.take(), sides.b.take())) == [False, True]


def test_a_process_is_looked_for_where_its_pid_means_it() -> None:
    assert not is_gone(new_holder())
    pid = os.getpid()
    assert is_gone(f"{machine_id()}/{pid}/{(started_ticks(pid) or 0) + 1}/x"), "another has its pid now"
    assert not is_gone(f"another-machine/{pid}/1/x")
    assert not is_gone(f"/{pid}/1/x")


class AtOnce:
    """A store that is asked in this thread, so that time can be virtual."""

    def __init__(self, store: Store) -> None:
        self.store = store

    async def ask(self, question: Callable[[Store], object]) -> object:
        return question(self.store)


def test_a_holder_goes_on_until_it_is_anothers(tmp_path: Path) -> None:
    async def work() -> None:
        lease = Lease(cast(BatchStorage, AtOnce(store)), clock=asyncio.get_running_loop().time)
        assert await lease.take()
        keeping = asyncio.create_task(lease.keep())
        await passed(4 * IDLE_RENEW_S + RENEW_S)
        assert 2 <= count() <= 4, "each is a write to the disk"
        have_work(store)
        before = count()
        await passed(3 * SILENT_S)
        assert not keeping.done()
        assert count() > before + 5
        store.end(BATCH, "completed", 2, Counts(), [])
        assert store.claim("another", store.runner())
        await keeping

    def count() -> int:
        found = store.runner()
        assert found is not None
        return found[1]

    with closing(Store(tmp_path)) as store:
        run_virtual(work())
