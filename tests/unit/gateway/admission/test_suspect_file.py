"""What workers tell each other of suspects, by a file that may be broken."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from gateway.admission.suspect_file import SuspectFile
from tests.support.waiting import turns
from tests.unit.gateway.admission.test_death_guard import BODY, guard, snapshot, suspecting


def test_a_broken_file_knows_nothing_and_is_written_anew(tmp_path: Path) -> None:
    (tmp_path / "suspects.json").write_bytes(b'{"half')
    one = guard(tmp_path)
    assert not one.watches()
    one.fell("one", BODY, answered=True)
    one.heard(snapshot("one"))
    assert SuspectFile(tmp_path).changed() is not None
    assert guard(tmp_path).watches()


def test_what_is_written_is_its_owners_alone(tmp_path: Path) -> None:
    """Who may open the lock may hold it, too."""
    one = guard(tmp_path)
    one.fell("one", BODY, answered=True)
    one.heard(snapshot("one"))
    SuspectFile(tmp_path).try_turn()
    assert {file.name: oct(file.stat().st_mode & 0o777) for file in tmp_path.iterdir()} == {
        name: "0o600" for name in ("suspects.json", "suspects.lock", "suspects.turn")
    }


def test_where_nothing_can_be_written_the_process_still_knows(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one = guard(tmp_path / "missing")
    one.fell("one", BODY, answered=True)
    one.heard(snapshot("one"))
    assert one.verdict(BODY) == "suspect"
    assert "cannot be written down" in caplog.text


@pytest.mark.anyio
async def test_a_turn_that_another_worker_has_is_waited_for(tmp_path: Path) -> None:
    mine, other = suspecting(tmp_path, b"a", b"b"), guard(tmp_path)
    theirs = SuspectFile(tmp_path).try_turn()
    assert theirs is not None
    assert mine.watches()
    assert other.watches()
    waiting = asyncio.create_task(other.admit((b"b",)))
    await turns(5)
    assert not waiting.done()
    os.close(theirs)
    turn = await waiting
    assert turn is not None
    turn.give_back()


def test_who_removes_the_file_has_every_worker_forget(tmp_path: Path) -> None:
    mine, other = guard(tmp_path), guard(tmp_path)
    for process in ("one", "two"):
        mine.fell(process, BODY, answered=True)
        mine.heard(snapshot(process))
    assert other.watches()
    (tmp_path / "suspects.json").unlink()
    for one in (mine, other):
        one._look()
        assert one.verdict(BODY) == "free"
        assert not one.watches()
    mine.fell("three", BODY, answered=True)
    mine.heard(snapshot("three"))
    other._look()
    assert other.verdict(BODY) == "suspect", "what comes later is known again"
