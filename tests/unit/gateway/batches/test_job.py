"""Batches outlive kill -9 at any moment: nothing is lost, nothing stands twice, nothing done is redone."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import json
import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Iterable
from contextlib import AsyncExitStack, closing
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.batches.database import Store
from gateway.batches.folder import Folder
from gateway.batches.in_process import Answered
from gateway.batches.job import Job
from gateway.batches.records import BatchRecord, FileRecord
from gateway.batches.results import LineResult, Results, answered
from tests.fakes.fake_engine import Answer, FakeEngine
from tests.support.batches import batch_program
from tests.support.batches.batch_program import MOMENTS
from tests.support.batches.batch_stack import CHAT, content, create, jsonl, line, results, shown, until
from tests.support.stack import eventually, stack
from tests.support.waiting import calls, turns
from tests.unit.gateway.endpoints.batches.test_batches import counts_of

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[4]
LINES = 24


def made_batch(folder: Path) -> BatchRecord:
    """A batch as a client leaves it, in a state directory that no gateway has seen."""
    place = Folder(folder)
    place.make()
    data = jsonl([line(n, text=f"text {n}") for n in range(LINES)] + [line(99, messages="no")])
    place.content("file-in").write_bytes(data)
    store = Store(place.root)
    store.add_file(FileRecord("file-in", "", "batch", "in.jsonl", len(data), 1, 2**33), 2**40)
    batch = BatchRecord("batch_1", "", CHAT, "file-in", "file-out", "file-err", "validating", 1, 2**33, 3600)
    assert store.add_batch(batch, 1)
    store.close()
    return batch


async def run_program(folder: Path, engine: FakeEngine, *moment: str) -> int:
    command = (sys.executable, "-m", batch_program.__name__, str(folder), engine.url, *moment)
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT)
    return await asyncio.wait_for(process.wait(), 60)


def records_of(folder: Path, name: str) -> list[dict[str, object]]:
    text = Folder(folder).content(name).read_text()
    assert text.endswith("\n")
    return [json.loads(each) for each in text.splitlines()]


def asked(engine: FakeEngine) -> Counter[str]:
    """How often the engine was asked for each line."""
    return Counter(request.json["messages"][-1]["content"] for request in engine.completions)  # type: ignore[index]


@pytest.mark.parametrize("moment", [*(f"{moment}:1" for moment in MOMENTS), "half_a_result:7"])
async def test_batch_killed_at_a_moment_is_finished_by_the_next(tmp_path: Path, moment: str) -> None:
    batch = made_batch(tmp_path)
    engine = FakeEngine()
    await engine.start()
    try:
        assert await run_program(tmp_path, engine, moment) == -signal.SIGKILL
        done = whole_results(tmp_path, batch.id)
        before = asked(engine)
        assert await run_program(tmp_path, engine) == 0
        after = asked(engine) - before
        assert not set(after) & {f"text {number}" for number in done}, "a line that was done was run again"
        assert max(asked(engine).values()) <= 2
    finally:
        await engine.stop()
    store = Store(Folder(tmp_path).root)
    ended = store.batch(batch.id)
    assert ended is not None
    assert (ended.status, ended.total, ended.completed, ended.failed) == (
        "completed",
        LINES + 1,
        LINES,
        1,
    )
    files = store.files("", 10)
    assert files is not None
    assert {file.id for file in files} == {"file-in", ended.output_file, ended.error_file}
    store.close()
    output, errors = records_of(tmp_path, ended.output_file), records_of(tmp_path, ended.error_file)
    assert sorted(str(each["custom_id"]) for each in output) == sorted(f"r{n}" for n in range(LINES))
    assert [each["custom_id"] for each in errors] == ["r99"]
    assert ended.output_tokens == 2 * LINES


def whole_results(folder: Path, batch_id: str) -> set[int]:
    """The numbers in the custom ids of the results that are whole."""
    with closing(Store(Folder(folder).root)) as store:
        batch = store.batch(batch_id)
    assert batch is not None
    found: set[int] = set()
    for name in (batch.output_file, batch.error_file):
        path = Folder(folder).content(name)
        lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
        found |= {int(json.loads(each)["custom_id"][1:]) for each in lines}
    return found


def test_results_are_taken_over_whatever_is_cut_off(tmp_path: Path) -> None:
    output, errors = tmp_path / "output", tmp_path / "errors"
    whole = Results("batch_1", output, errors)
    answer = answered_with(200, b'{"usage": {"prompt_tokens": 3, "completion_tokens": 2}}')
    whole.add([answered("batch_1", number, f"r{number}", answer) for number in (1, 2, 9)])
    whole.add([answered("batch_1", 4, "r4", answered_with(400, b'{"error": {}}'))])
    assert (whole.counts.completed, whole.counts.failed, whole.counts.input_tokens) == (3, 1, 9)
    whole.close()
    data = output.read_bytes()
    ends = [at + 1 for at in range(len(data)) if data[at : at + 1] == b"\n"]
    for cut in range(len(data) + 1):
        for torn in (data[:cut], data[:cut] + b"\0" * 7, data[:cut] + b"\xff\n"):
            output.write_bytes(torn)
            again = Results("batch_1", output, errors)
            again.take_over()
            kept = sum(end <= cut for end in ends)
            assert (again.counts.completed, again.counts.failed) == (kept, 1)
            assert [again.done(number) for number in (1, 2, 9, 4, 3)] == [
                kept > 0,
                kept > 1,
                kept > 2,
                True,
                False,
            ]
            assert output.stat().st_size == (ends[kept - 1] if kept else 0)
            again.close()


def answered_with(status: int, body: bytes) -> Answered:
    return Answered(status, body, "id")


def test_answer_with_line_breaks_is_one_line(tmp_path: Path) -> None:
    kept = Results("batch_1", tmp_path / "output", tmp_path / "errors")
    for number, body in enumerate((b'{\n"a":\r\n1}', b"no json\n", b"")):
        kept.add([answered("batch_1", number, "r", answered_with(200, body))])
    kept.close()
    lines = (tmp_path / "output").read_bytes().splitlines()
    bodies = [json.loads(each)["response"]["body"] for each in lines]
    assert bodies == [{"a": 1}, "no json\n", ""]


async def test_full_disk_holds_results_back_and_loses_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pwrite, full = os.pwrite, [True, True]

    def refusing(handle: int, data: bytes, offset: int) -> int:
        if full:
            full.pop()
            pwrite(handle, data[:10], offset)
            raise OSError(28, "No space left on device")
        return pwrite(handle, data, offset)

    monkeypatch.setattr("gateway.batches.results.os.pwrite", refusing)
    monkeypatch.setattr("gateway.batches.job.TRY_AGAIN_S", 0.01)
    async with asyncio.timeout(30), stack(tmp_path) as made:
        batch = await until(made, await create(made, [line(n) for n in range(5)]), "completed")
        output, _ = await results(made, batch)
        assert len(output) == 5
        assert len(made.engine.completions) == 5
    assert not full


async def test_of_two_gateways_one_runs_batches_and_the_other_takes_over(tmp_path: Path) -> None:
    async with asyncio.timeout(30), AsyncExitStack() as end_of_both:
        end_of_first = AsyncExitStack()
        first = await end_of_first.enter_async_context(stack(tmp_path))
        await eventually(lambda: first.gateway.batches.runner.has_lease)
        second = await end_of_both.enter_async_context(stack(tmp_path))
        await end_of_both.enter_async_context(end_of_first)
        batch_id = await create(second, [line(n) for n in range(3)])  # by the one that does not run it
        await until(second, batch_id, "completed")
        assert not second.gateway.batches.runner.has_lease
        held = asyncio.Event()
        for made in (first, second):
            made.engine.answers["naming@bbbbbbbbbbbb"] = Answer(hold_head=held)
        batch_id = await create(first, [line(n) for n in range(3)])
        await eventually(lambda: first.engine.active + second.engine.active == 3)
        await end_of_first.aclose()
        held.set()
        output, _ = await results(second, await until(second, batch_id, "completed"))
        assert len(output) == 3
        assert second.gateway.batches.runner.has_lease


async def test_batches_wait_for_the_end_of_a_gateway_of_the_first_release(tmp_path: Path) -> None:
    place = Folder(tmp_path)
    place.make()
    lock = os.open(place.root / "runner.lock", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)  # as it does while it runs them
    async with asyncio.timeout(30), stack(tmp_path) as made:
        taken = calls(made.gateway.batches.runner._lease, "take")
        batch_id = await create(made, [line(1)])
        await turns(500)
        assert not taken
        os.close(lock)
        assert counts_of(await until(made, batch_id, "completed"))["completed"] == 1


async def test_a_runner_that_was_only_slow_harms_no_batch_that_another_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes on where it stood, as a process that was stopped does; its batch is another's by then."""
    monkeypatch.setattr("gateway.batches.lease.RENEW_S", 3600.0)  # it hears of nothing
    monkeypatch.setattr("gateway.batches.lease.SILENT_S", 3600.0)  # nor is it given up
    monkeypatch.setattr("gateway.batches.runner.TAKE_EVERY_S", 0.02)
    async with stack(tmp_path) as first, AsyncExitStack() as end_of_second:
        slow = first.gateway.batches.runner
        await eventually(lambda: slow.has_lease, 100)
        second = await end_of_second.enter_async_context(stack(tmp_path))
        held = asyncio.Event()
        engines = (first.engine, second.engine)  # both gateways ask the one that was told of last
        for engine in engines:
            engine.answers["base"] = Answer(["what", " is", " late"], hold_head=held)
        batch_id = await create(first, [line(1), line(2), line(3, "base"), line(4, "base")])
        await eventually(lambda: sum(len(one.completions) for one in engines) == 4, 100)
        for engine in engines:
            engine.answers["base"] = Answer()
        library = second.gateway.batches.library

        async def two_done() -> bool:
            batch = await library.ask(lambda store: store.batch(batch_id))
            return batch is not None and batch.completed == 2

        await eventually(two_done, 100)
        found = await library.ask(lambda store: store.runner())
        assert found is not None
        lease = second.gateway.batches.runner._lease
        lease._is_gone = lambda holder: holder == found[0]
        batch = await until(second, batch_id, "completed")
        asked = sum(len(one.completions) for one in engines)
        before = await content(second, batch["output_file_id"])
        ((_, going_on),) = slow._jobs.values()
        held.set()  # the slow one has its answers, writes them and brings the batch to its end
        await asyncio.wait([going_on])
        output, errors = await results(second, batch)
        assert set(output) == {"r1", "r2", "r3", "r4"}
        assert not errors
        assert await content(second, batch["output_file_id"]) == before
        assert asked == 6, "what was written is not asked again, what was at the engine is"
        assert await shown(second, batch_id) == batch


async def test_a_batch_that_a_full_disk_keeps_from_being_taken_over_leaves_no_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = Folder.copy

    def copying(self: Folder, file_id: str, other_id: str) -> None:
        if file_id == "file-err":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        copy(self, file_id, other_id)

    monkeypatch.setattr(Folder, "copy", copying)
    async with asyncio.timeout(30), stack(tmp_path) as made:
        means = made.gateway.batches.runner._means
        folder = means.library.folder
        folder.make()
        folder.add("file-out", b"a result\n")
        names = "file-in", "file-out", "file-err"
        batch = BatchRecord("batch_1", "", CHAT, *names, "in_progress", 1, 2**33, 3600, runner="another")
        with pytest.raises(OSError, match="No space"):
            await Job(batch, means, "this").run()
        assert [path.name for path in folder.content("x").parent.iterdir()] == ["file-out"]


async def test_a_bound_on_lines_that_is_lower_since_their_validation_loses_none(tmp_path: Path) -> None:
    async with asyncio.timeout(30), stack(tmp_path) as made:
        means = replace(made.gateway.batches.runner._means, most_line_bytes=10)
        folder = means.library.folder
        folder.make()
        folder.add("file-in", jsonl([line(1)]))
        names = "file-in", "file-out", "file-err"
        batch = BatchRecord(
            "batch_1", "", CHAT, *names, "in_progress", 1, 2**33, 3600, runner="this", in_progress_at=1
        )
        await Job(batch, means, "this").run()
        assert [one["custom_id"] for one in records_of(tmp_path, "file-out")] == ["r1"]


async def test_a_gateway_ends_though_its_disk_is_full_and_results_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = True
    add = Results.add

    def adding(self: Results, given: Iterable[LineResult]) -> None:
        if full:
            tried.set()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        add(self, given)

    tried = threading.Event()
    monkeypatch.setattr(Results, "add", adding)
    async with asyncio.timeout(30):
        async with stack(tmp_path) as made:
            batch_id = await create(made, [line(n) for n in range(4)])
            await asyncio.to_thread(tried.wait)
        full = False
        async with stack(tmp_path) as made:
            batch = await until(made, batch_id, "completed")
            output, errors = await results(made, batch)
            assert (len(output), errors) == (4, {})
