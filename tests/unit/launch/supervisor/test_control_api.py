"""The control socket: its owner's alone, and the whole state at each change."""

from __future__ import annotations

import asyncio
from pathlib import Path

from gateway.config.snapshot import decode_snapshot
from tests.fakes.plant import Plant
from tests.unit.launch.supervisor.test_supervisor import run


def test_state_file_and_socket_are_the_owners_alone(tmp_path: Path) -> None:
    async def work(made: Plant) -> None:
        for name in ("engine.json", "control.sock"):
            assert (tmp_path / "state" / name).stat().st_mode & 0o077 == 0

    run(tmp_path, work)


def test_events_give_the_whole_state_at_once_and_at_each_change(tmp_path: Path) -> None:
    async def work(made: Plant) -> None:
        await made.until_state("ready")
        async with made.client.stream("GET", "/events") as events:
            lines = events.aiter_lines()
            first = decode_snapshot(await anext(lines))
            adding = asyncio.create_task(made.add("naming", "two"))
            snapshot = first
            while len(snapshot.tasks["naming"].versions) < 2:
                line = await anext(lines)
                if line:
                    newer = decode_snapshot(line)
                    assert newer.version > snapshot.version
                    snapshot = newer
            await adding

    run(tmp_path, work)
