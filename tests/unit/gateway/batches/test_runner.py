"""Batches under way: beside clients, side by side, cancelled, expired, and broken off by a fault."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.batches.database import Store
from gateway.batches.folder import STRAY_AFTER_S, Folder
from gateway.batches.in_process import Answered
from gateway.batches.input_lines import LineReader
from gateway.batches.job import VALIDATED_BYTES, Job
from gateway.batches.records import BatchRecord
from gateway.batches.results import LineResult, answered
from gateway.batches.writer import Writer
from gateway.errors import Unavailable
from gateway.upkeep import DAMAGED, MEND
from tests.fakes.fake_engine import Answer
from tests.fakes.sqlite_faults import sqlite_fault
from tests.support.batches.batch_stack import (
    CHAT,
    content,
    create,
    jsonl,
    line,
    read_in_part,
    results,
    shown,
    timed_stack,
    until,
)
from tests.support.stack import Stack, eventually, key_of
from tests.support.waiting import calls, turns
from tests.unit.gateway.endpoints.batches.test_batches import NAMING, counts_of

pytestmark = pytest.mark.anyio


async def test_lines_begin_only_while_no_client_waits_and_take_no_place_of_theirs(tmp_path: Path) -> None:
    async with timed_stack(tmp_path, max_in_flight=2) as made:
        held, batched = asyncio.Event(), asyncio.Event()
        admission = made.gateway.admission
        made.engine.answers["base"] = Answer(hold_head=held)
        made.engine.answers[NAMING] = Answer(hold_head=batched)
        clients = [asyncio.create_task(made.chat(model="base")) for _ in range(3)]
        await eventually(lambda: admission.waiting == 1)  # two run, one waits
        looks = calls(admission, "has_room")
        batch_id = await create(made, [line(1), line(2), line(3)])
        await until(made, batch_id, "in_progress")
        await eventually(lambda: len(looks) > 3)
        assert not any(looks)
        assert not [each for each in made.engine.completions if each.json["model"] == NAMING]
        held.set()
        assert [answer.status_code for answer in await asyncio.gather(*clients)] == [200, 200, 200]
        await eventually(lambda: made.engine.active == 3)  # the batch's, though two are the bound
        assert (admission.in_flight, admission.held) == (0, 3)
        assert (await made.chat(model="base")).status_code == 200
        batched.set()
        await until(made, batch_id, "completed")
        await made.at_rest()
        assert admission.held == 0


async def test_lines_that_wait_behind_clients_hold_nothing_of_their_keys_limits(tmp_path: Path) -> None:
    keys = {"team": key_of("own", limits={"max_in_flight": 2}), "other": key_of("o")}
    async with timed_stack(tmp_path, keys=keys, max_in_flight=1) as made:
        made.client.headers["authorization"] = "Bearer own"
        held = asyncio.Event()
        made.engine.answers["base"] = Answer(hold_head=held)
        theirs = {"json": line(0, "base")["body"], "headers": {"authorization": "Bearer o"}}
        others = [asyncio.create_task(made.client.post(CHAT, **theirs)) for _ in range(2)]  # type: ignore[arg-type]
        await eventually(lambda: made.gateway.admission.waiting == 1)
        asked = calls(made.gateway.batches.attempts, "_ask")
        batch_id = await create(made, [line(1), line(2), line(3)])
        await eventually(lambda: len(asked) == 3)
        await turns(5)
        asking = asyncio.create_task(made.chat())
        await eventually(lambda: asking.done() or made.gateway.admission.waiting == 2)
        held.set()
        assert (await asking).status_code == 200
        assert [answer.status_code for answer in await asyncio.gather(*others)] == [200, 200]
        await until(made, batch_id, "completed")


async def test_lines_in_flight_are_bounded(tmp_path: Path) -> None:
    async with timed_stack(tmp_path, batches={"max_in_flight": 3}) as made:
        held = asyncio.Event()
        made.engine.answers[NAMING] = Answer(hold_head=held)
        batch_id = await create(made, [line(n) for n in range(9)])
        await made.engine.until(lambda: made.engine.active == 3)
        await turns(200)
        assert made.engine.active == 3
        held.set()
        assert counts_of(await until(made, batch_id, "completed"))["completed"] == 9


async def test_cancelled_half_way_keeps_what_is_done_and_lists_the_rest(tmp_path: Path) -> None:
    async with timed_stack(tmp_path, batches={"max_in_flight": 2}) as made:
        held = asyncio.Event()
        made.engine.answers["base"] = Answer(hold_head=held)
        lines = [line(1), *(line(n, "base") for n in range(2, 5))]
        batch_id = await create(made, lines)
        await made.engine.until(lambda: len(made.engine.completions) == 3)  # one done, two held
        file = await made.client.delete(f"/v1/files/{(await shown(made, batch_id))['input_file_id']}")
        assert (file.status_code, file.json()["error"]["code"]) == (400, "file_in_use")
        asked = await made.client.post(f"/v1/batches/{batch_id}/cancel")
        assert asked.json()["status"] in ("cancelling", "cancelled")
        batch = await until(made, batch_id, "cancelled")
        await made.at_rest()  # the engine was let go
        output, errors = await results(made, batch)
        assert set(output) == {"r1"}
        assert {(each["response"], str(each["error"]["code"])) for each in errors.values()} == {  # type: ignore[index]
            (None, "batch_cancelled")
        }
        assert set(errors) == {"r2", "r3", "r4"}
        assert counts_of(batch) == {"total": 4, "completed": 1, "failed": 0}
        again = await made.client.post(f"/v1/batches/{batch_id}/cancel")
        assert again.json()["status"] == "cancelled"


async def test_batch_expires_by_the_clock(tmp_path: Path) -> None:
    async with timed_stack(tmp_path) as made:
        held = asyncio.Event()
        made.engine.answers["base"] = Answer(hold_head=held)
        batch_id = await create(made, [line(1), line(2, "base"), line(3, "base")])
        await made.engine.until(lambda: len(made.engine.completions) == 3)
        library, expires_at = made.gateway.batches.library, (await shown(made, batch_id))["expires_at"]
        assert isinstance(expires_at, int)
        library.clock = lambda: float(expires_at)
        library.news.set()
        batch = await until(made, batch_id, "expired")
        assert batch["expired_at"] == expires_at
        output, errors = await results(made, batch)
        assert set(output) == {"r1"}
        assert {str(each["error"]["code"]) for each in errors.values()} == {"batch_expired"}  # type: ignore[index]
        assert set(errors) == {"r2", "r3"}
        await made.at_rest()


async def test_keys_run_side_by_side_and_one_keys_batches_in_turn(tmp_path: Path) -> None:
    keys = {f"team-{name}": {"sha256": hashlib.sha256(name.encode()).hexdigest()} for name in "ab"}
    async with timed_stack(tmp_path, keys=keys, batches={"max_in_flight": 4}) as made:
        held = asyncio.Event()
        made.engine.answers[NAMING] = Answer(hold_head=held)
        made.client.headers["authorization"] = "Bearer a"
        first = await create(made, [line(n) for n in range(4)])
        await made.engine.until(lambda: made.engine.active == 4)
        second = await create(made, [line(9, "base")])
        await until(made, second, "in_progress")
        made.client.headers["authorization"] = "Bearer b"
        other = await create(made, [line(n, "base") for n in range(4)])
        await until(made, other, "in_progress")
        assert len(made.engine.completions) == 4  # all places are taken
        held.set()
        await until(made, other, "completed")
        made.client.headers["authorization"] = "Bearer a"
        batches = [await until(made, each, "completed") for each in (first, second)]
        assert counts_of(batches[0])["completed"] == 4
        models = [request.json["model"] for request in made.engine.completions]
        assert models[:4] == [NAMING] * 4


@pytest.mark.parametrize(("code", "mend"), [(sqlite3.SQLITE_FULL, MEND), (sqlite3.SQLITE_CORRUPT, DAMAGED)])
async def test_a_store_that_takes_nothing_for_a_moment_breaks_no_batch_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, code: int, mend: str
) -> None:
    """What is told by the way is told later; a batch that is not taken with others is taken by its job."""
    refusals = ["count", "take_new"]

    def refusing(name: str) -> Callable[..., None]:
        whole = getattr(Store, name)

        def asked(self: Store, *given: object) -> None:
            if name in refusals:
                refusals.remove(name)
                raise sqlite_fault(code)
            whole(self, *given)

        return asked

    for name in tuple(refusals):
        monkeypatch.setattr(Store, name, refusing(name))
    async with timed_stack(tmp_path) as made:
        held = asyncio.Event()
        made.engine.answers["base"] = Answer(hold_head=held)
        broken_off = calls(made.gateway.batches.runner, "_break_off")
        batch_id = await create(made, [line(1), line(2, "base")])
        await made.engine.until(lambda: len(made.engine.completions) == 2)

        async def counted() -> bool:
            return counts_of(await shown(made, batch_id))["completed"] == 1

        await eventually(counted, 10)
        held.set()
        assert counts_of(await until(made, batch_id, "completed"))["completed"] == 2
        assert not refusals
        assert any(text.startswith("how far") and text.endswith(mend) for text in caplog.messages)
        assert not broken_off


@pytest.mark.parametrize(
    "fault", [sqlite_fault(sqlite3.SQLITE_FULL), OSError(errno.EACCES, "Permission denied")]
)
async def test_a_disk_that_lets_nothing_be_removed_stops_no_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, fault: Exception
) -> None:
    def refusing(self: Store, now: int) -> list[str]:
        raise fault

    monkeypatch.setattr(Store, "forget_expired", refusing)
    async with timed_stack(tmp_path) as made:
        broken_off = calls(made.gateway.batches.runner, "_break_off")
        batch = await until(made, await create(made, [line(1)]), "completed")
        assert counts_of(batch)["completed"] == 1
        assert any(text.startswith("what is over is not removed") for text in caplog.messages)
        assert not broken_off


async def test_fault_of_ours_breaks_off_the_job_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with timed_stack(tmp_path) as made:
        monkeypatch.setattr("gateway.batches.runner.AFTER_FAULT_S", 0.0)
        put, faults = Writer.put, [RuntimeError("no good")]

        async def failing(self: Writer, result: LineResult) -> None:
            if faults:
                raise faults.pop()
            await put(self, result)

        monkeypatch.setattr(Writer, "put", failing)
        batch = await until(made, await create(made, [line(n) for n in range(5)]), "completed")
        assert counts_of(batch) == {"total": 5, "completed": 5, "failed": 0}
        assert len(await content(made, batch["output_file_id"])) == 5


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "{0}: make room there, or mend rights"),
        (sqlite_fault(sqlite3.SQLITE_FULL), "SQLITE_TMPDIR"),
        (Unavailable("The log says why."), "The log says why."),
        (RuntimeError("no good"), "no good"),
    ],
)
async def test_a_disk_without_room_is_told_in_a_line_with_its_mend_and_goes_on(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    fault: Exception,
    said: str,
) -> None:
    async with timed_stack(tmp_path) as made:
        monkeypatch.setattr("gateway.batches.runner.AFTER_FAULT_S", 0.0)
        validated, faults = Job._validated, [fault]

        async def failing(self: Job) -> bool:
            if faults:
                raise faults.pop()
            return await validated(self)

        monkeypatch.setattr(Job, "_validated", failing)
        batch = await until(made, await create(made, [line(1)]), "completed")
        assert counts_of(batch) == {"total": 1, "completed": 1, "failed": 0}
        (told,) = (one for one in caplog.records if "broken off" in one.getMessage())
        assert said.format(made.gateway.batches.library.folder.root) in told.getMessage()
        assert bool(told.exc_info) is isinstance(fault, RuntimeError)


@pytest.fixture
def unreadable(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The disk gives nothing of the first input behind its first line once it runs, until this is cleared."""
    whole, tries, first = LineReader.slice, ["on"], list[str]()

    def slicing(self: LineReader) -> list[tuple[int, bytes | None]]:
        first.append(self._file.name)
        if self._most_bytes == VALIDATED_BYTES and self._file.name == first[0] and self._number and tries:
            tries.append("again")
            raise OSError(errno.EIO, "Input/output error")
        return whole(self)

    monkeypatch.setattr(LineReader, "slice", slicing)
    monkeypatch.setattr("gateway.batches.input_lines.SLICE_LINES", 1)
    monkeypatch.setattr("gateway.batches.runner.AFTER_FAULT_S", 0.0)
    return tries


async def test_a_batch_whose_input_stays_unreadable_fails_with_what_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unreadable: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("gateway.batches.runner.UNREADABLE_S", 0.0)
    async with timed_stack(tmp_path) as made:
        batch_id = await create(made, [line(1), line(2)])
        other = await until(made, await create(made, [line(3), line(4)]), "completed")
        assert counts_of(other)["completed"] == 2
        batch = await until(made, batch_id, "failed")
        (said,) = batch["errors"]["data"]  # type: ignore[index]
        assert (said["code"], said["line"]) == ("input_unreadable", None)
        assert counts_of(batch) == {"total": 2, "completed": 1, "failed": 0}
        output, _ = await results(made, batch)
        assert set(output) == {"r1"}
        assert len(made.engine.completions) == 3, "what is done is not asked again"
        assert any(one.endswith(MEND) for one in caplog.messages), "a line with its mend, while it is tried"


async def test_an_input_that_can_be_read_again_in_time_runs_to_its_end(
    tmp_path: Path, unreadable: list[str]
) -> None:
    async with timed_stack(tmp_path) as made:
        batch_id = await create(made, [line(1), line(2)])
        await eventually(lambda: len(unreadable) > 3, 20)
        unreadable.clear()
        assert counts_of(await until(made, batch_id, "completed"))["completed"] == 2


@pytest.mark.parametrize("end", ["failed", "cancelled"])
async def test_an_unreadable_input_keeps_no_batch_beyond_its_deadline_or_its_cancellation(
    tmp_path: Path, unreadable: list[str], end: str
) -> None:
    async with timed_stack(tmp_path) as made:
        batch_id, library = await create(made, [line(1), line(2)]), made.gateway.batches.library
        await eventually(lambda: len(unreadable) > 3, 20)
        if end == "failed":
            expires_at = (await shown(made, batch_id))["expires_at"]
            assert isinstance(expires_at, int)
            library.clock = lambda: float(expires_at)
        else:
            await made.client.post(f"/v1/batches/{batch_id}/cancel")
        batch = await until(made, batch_id, end)
        assert counts_of(batch)["completed"] == 1
        assert batch["errors"]["data"][0]["code"] == "input_unreadable"  # type: ignore[index]


DONE = [answered("batch_1", n, f"r{n}", Answered(200, b"{}", "id")).data for n in (1, 2)]


async def left_half_done(made: Stack, *files: str, lines: int = 3, expires_at: int = 2**33) -> None:
    """So many lines that another process left, two of them done; these contents of theirs are there."""
    library = made.gateway.batches.library
    given = {"file-in": jsonl([line(n + 1) for n in range(lines)]), "file-out": b"".join(DONE)}
    names = "file-in", "file-out", "file-err"
    batch = BatchRecord(
        *("batch_1", "", CHAT, *names, "in_progress", 1, expires_at, 3600),
        total=lines,
        runner="another",
        in_progress_at=1,
    )
    library.folder.make()
    for name in files:
        await asyncio.to_thread(library.folder.add, name, given[name])
    await library.ask(lambda store: store.add_batch(batch, 1))


@pytest.mark.parametrize("end", ["completed", "failed", "cancelled"])
async def test_results_that_stay_unreadable_at_a_takeover_end_the_batch_with_those_that_can_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, end: str
) -> None:
    monkeypatch.setattr("gateway.batches.runner.AFTER_FAULT_S", 0.0)
    monkeypatch.setattr("gateway.batches.runner.UNREADABLE_S", 0.0 if end == "failed" else 600.0)
    broken = [True] * 3 if end == "completed" else [True] * 100_000
    tried = len(broken)
    async with timed_stack(tmp_path) as made:
        read_in_part(monkeypatch, "file-out", len(DONE[0]) + 5, broken)
        await left_half_done(made, "file-in", "file-out")
        if end == "cancelled":
            await eventually(lambda: len(broken) < tried - 3, 20)
            await made.client.post("/v1/batches/batch_1/cancel")
        batch = await until(made, "batch_1", end)
        output, errors = await results(made, batch)
        assert any("broken off" in one and one.endswith(MEND) for one in caplog.messages)
        assert not errors
        if end == "completed":
            assert set(output) == {"r1", "r2", "r3"}
            assert len(made.engine.completions) == 1
            return
        (said,) = batch["errors"]["data"]  # type: ignore[index]
        assert (said["code"], said["message"]) == (
            "results_unreadable",
            "The results cannot be read: Input/output error.",
        )
        assert set(output) == {"r1"}
        assert counts_of(batch) == {"total": 3, "completed": 1, "failed": 0}
        assert not made.engine.completions


@pytest.mark.parametrize(("lines", "end"), [(2, "completed"), (3, "expired")])
async def test_a_batch_that_only_its_end_was_missing_of_is_completed_after_its_time_too(
    tmp_path: Path, lines: int, end: str
) -> None:
    async with timed_stack(tmp_path) as made:
        await left_half_done(made, "file-in", "file-out", lines=lines, expires_at=2)
        batch = await until(made, "batch_1", "completed", "expired")
        assert (batch["status"], counts_of(batch)["completed"]) == (end, 2)
        assert (batch["completed_at"] is None) is (end == "expired")


async def test_an_input_that_is_gone_from_under_a_batch_ends_it_with_what_is_done(tmp_path: Path) -> None:
    async with timed_stack(tmp_path) as made:
        await left_half_done(made, "file-out")
        batch = await until(made, "batch_1", "failed")
        assert [one["code"] for one in batch["errors"]["data"]] == ["input_lost"]  # type: ignore[index]
        output, _ = await results(made, batch)
        assert set(output) == {"r1", "r2"}


async def test_a_sweep_that_is_stopped_for_hours_takes_nothing_that_came_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known, came = Store.known_contents, list[Path]()

    def asking(self: Store) -> set[str]:
        found = known(self)
        folder.add("file-new", b"another gateway's")
        came.append(folder.content("file-new"))
        os.utime(came[0], (time.time() + 60.0,) * 2)
        return found

    async with timed_stack(tmp_path) as made:
        folder = made.gateway.batches.library.folder
        await until(made, await create(made, [line(1)]), "completed")
        monkeypatch.setattr(Store, "known_contents", asking)
        monkeypatch.setattr(Folder, "now", lambda self: time.time() + (STRAY_AFTER_S * 2 if came else 0.0))
        await made.gateway.batches.runner.sweep()
        assert came[0].exists()
