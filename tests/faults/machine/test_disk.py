"""A state directory that takes nothing more: what is served goes on, and what cannot be kept is refused."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import resource
import sqlite3
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.faults.conftest import Note
from tests.faults.processes import Served, beside, served, soon
from tests.faults.promises import median_ms
from tests.support.batches.batch_stack import CHAT, jsonl, line

pytestmark = pytest.mark.anyio
DISK = "16m"
UNSHARE = ["unshare", *(["--map-root-user"] if os.getuid() else []), "--mount"]
MOUNTED = 'cp -a "$0" "$0.copy" && mount -t tmpfs -o size={size} tmpfs "$0" && cp -a "$0.copy/." "$0"'
LIMITED: dict[str, Any] = {"limits": {"requests_per_minute": 1_000_000}}


@cache
def may_mount() -> bool:
    command = [*UNSHARE, "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


@asynccontextmanager
async def on_small_disk(folder: Path, *, read_only: bool = False, **settings: Any) -> AsyncIterator[Served]:
    """The gateway's state directory is a disk of its own, where that is permitted."""
    script = MOUNTED.format(size=DISK) + (' && mount -o remount,ro "$0"' if read_only else "")
    before = [*UNSHARE, "sh", "-c", f'{script} && exec "$@"', str(folder / "state")]
    async with served(folder, {"before": before} if may_mount() else {}, **settings) as s:
        yield s


class Disk:
    """The gateway's, seen from outside; where none could be mounted, no file of the gateway's may grow."""

    def __init__(self, s: Served) -> None:
        self._pid = s.gateway.pid
        self._folder = Path(f"/proc/{self._pid}/root{s.folder}/state")
        self._filler = self._folder / "filler"
        self._growth = resource.prlimit(self._pid, resource.RLIMIT_FSIZE)

    def fill(self, leave_bytes: int = 0) -> None:
        if not may_mount():
            resource.prlimit(self._pid, resource.RLIMIT_FSIZE, (leave_bytes, self._growth[1]))
            return
        with self._filler.open("wb") as file:
            while True:
                room = os.statvfs(self._folder)
                try:
                    os.posix_fallocate(file.fileno(), 0, room.f_bavail * room.f_frsize - leave_bytes)
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    continue  # the gateway has written since it was looked at
                return

    def free(self) -> None:
        resource.prlimit(self._pid, resource.RLIMIT_FSIZE, self._growth)
        self._filler.unlink(missing_ok=True)


async def upload(s: Served) -> httpx.Response:
    line = b'{"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": {}}\n'
    files = {"purpose": (None, b"batch"), "file": ("in.jsonl", line * 200)}
    return await s.client.post("/v1/files", files=files)


async def test_a_full_disk_stops_what_must_be_kept_and_nothing_else(tmp_path: Path, note: Note) -> None:
    async with on_small_disk(tmp_path, **LIMITED) as s:
        await s.good()
        assert (await upload(s)).status_code == 200
        disk = Disk(s)
        disk.fill()
        async with beside(s) as times:
            refused = [await upload(s) for _ in range(5)]
            await soon(lambda: "usage failed: " in s.gateway.said())  # it is written each second
        assert [one.status_code for one in refused] == [503] * 5
        assert {one.json()["error"]["code"] for one in refused} == {"batches_unavailable"}
        assert all(int(one.headers["retry-after"]) > 0 for one in refused)
        disk.free()
        assert (await upload(s)).status_code == 200
        assert len((await s.client.get("/v1/files")).json()["data"]) == 2
        assert "Traceback" not in s.gateway.said()
    note(
        "a full disk stops only what must be kept",
        load="4 clients with limits",
        fault="disk full" if may_mount() else "no file may grow",
        outcome="uploads 503, others right and counted",
        figure=median_ms(times()),
    )


@pytest.mark.parametrize("leave_bytes", [0, 8192])
async def test_limits_that_find_no_room_refuse_and_end_no_process(
    tmp_path: Path, note: Note, leave_bytes: int
) -> None:
    async with on_small_disk(tmp_path, **LIMITED) as s:
        disk = Disk(s)
        disk.fill(leave_bytes)
        for _ in range(3):
            refused = await s.chat("echo x")
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "limits_not_counted")
            assert int(refused.headers["retry-after"]) > 0
        disk.free()
        await s.good()
    note(
        "limits that cannot be counted refuse",
        load="1 client with limits",
        fault=f"disk full but for {leave_bytes} bytes, from the start",
        outcome="503, and counted once there is room",
    )


async def test_a_batch_waits_for_room_and_loses_no_line(tmp_path: Path, note: Note) -> None:
    lines = [line(number, text=f"slow {number} b c d e") for number in range(40)]
    async with on_small_disk(tmp_path, batches={"max_in_flight": 4}) as s:
        files = {"purpose": (None, b"batch"), "file": ("in.jsonl", jsonl(lines))}
        uploaded = (await s.client.post("/v1/files", files=files)).json()["id"]
        made = {"input_file_id": uploaded, "endpoint": CHAT, "completion_window": "24h"}
        batch = (await s.client.post("/v1/batches", json=made)).json()

        async def is_at(status: str) -> bool:
            nonlocal batch
            batch = (await s.client.get(f"/v1/batches/{batch['id']}")).json()
            return bool(batch["status"] == status)

        await soon(lambda: is_at("in_progress"))
        disk = Disk(s)
        disk.fill()
        await soon(lambda: "results of batches cannot be written in " in s.gateway.said())
        disk.free()
        await soon(lambda: is_at("completed"))
        output = (await s.client.get(f"/v1/files/{batch['output_file_id']}/content")).text.splitlines()
        assert sorted(json.loads(one)["custom_id"] for one in output) == sorted(f"r{n}" for n in range(40))
        assert "Traceback" not in s.gateway.said()
    note(
        "a batch waits for room",
        load="a batch of 40 lines",
        fault="disk full half-way",
        outcome="it goes on once there is room, no line is lost",
    )


async def test_a_state_directory_that_is_read_only_is_served_from(tmp_path: Path, note: Note) -> None:
    if not may_mount():
        pytest.skip("no mounts here, and root heeds no modes")
    async with on_small_disk(tmp_path, read_only=True) as s:
        async with beside(s) as times:
            refused = await upload(s)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "batches_unavailable")
        assert "Traceback" not in s.gateway.said()
    note(
        "a read-only state directory is served from",
        load="4 clients",
        fault="read-only file system",
        outcome="uploads 503, others right",
        figure=median_ms(times()),
    )


async def test_a_locked_store_of_files_is_waited_for_and_holds_nobody_else_up(
    tmp_path: Path, note: Note
) -> None:
    async with served(tmp_path) as s:
        assert (await upload(s)).status_code == 200
        with closing(sqlite3.connect(tmp_path / "state" / "batches" / "batches.sqlite")) as other:
            other.isolation_level = None
            other.execute("BEGIN EXCLUSIVE")
            waiting = asyncio.create_task(upload(s))
            async with beside(s) as times:
                pass
            assert not waiting.done()
            other.execute("ROLLBACK")
        assert (await waiting).status_code == 200
    note(
        "a locked SQLite is waited for",
        load="4 clients",
        fault="batches.sqlite locked",
        outcome="the upload waits, others right",
        figure=median_ms(times()),
    )
