"""A disk that takes nothing: what is served goes on, and what cannot be kept is refused whole."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.config.snapshot import FILE, Snapshot, read_snapshot
from gateway.errors import Unavailable
from gateway.sqlite import transaction
from launch.adapters.versions import Version, Wanted
from launch.engine import process
from launch.machine import orphans
from launch.machine.child import Child
from launch.supervisor import publisher
from launch.supervisor.database import StateStore
from launch.supervisor.publisher import Publisher
from tests.fakes.plant import timed_plant
from tests.support.stack import eventually

pytestmark = pytest.mark.anyio

FULL = Path("/dev/full")
"""Every write to it fails with ENOSPC."""


def scratch(state_dir: Path) -> Path:
    """Where the snapshot is written before it is renamed."""
    return state_dir / f".{FILE}.{os.getpid()}"


async def test_listeners_hear_a_snapshot_that_no_disk_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher, "AGAIN_S", 0.0)
    scratch(tmp_path).symlink_to(FULL)
    published = Publisher(tmp_path, 1, lambda version: Snapshot(version, base=f"base-{version}"))
    lines = published.lines()
    assert await anext(lines) == b"\n"
    published.publish()
    assert (await anext(lines)).strip() == published.line
    assert read_snapshot(tmp_path / FILE) is None
    await eventually(lambda: read_snapshot(tmp_path / FILE) == published.snapshot)
    assert not scratch(tmp_path).exists()
    await lines.aclose()  # type: ignore[attr-defined]


async def test_adapter_is_added_though_the_snapshot_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher, "AGAIN_S", 0.02)
    (tmp_path / "state").mkdir()
    blocked = scratch(tmp_path / "state")
    blocked.mkdir()
    async with timed_plant(tmp_path) as made:
        await made.until_state("ready")
        assert (await made.add("later", "two")).status_code == 200
        assert made.snapshot.tasks["later"].versions[0].state == "ready"
        assert read_snapshot(tmp_path / "state" / FILE) is None
        blocked.rmdir()
        await made.until(lambda: read_snapshot(tmp_path / "state" / FILE) == made.snapshot)


async def test_engine_whose_pid_cannot_be_noted_is_looked_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "NOTE_AGAIN_S", 0.02)
    note = tmp_path / "state" / f"engine-0{orphans.SUFFIX}"
    note.mkdir(parents=True)
    async with timed_plant(tmp_path) as made:
        await made.until_state("ready")
        first = made.engine.pid
        os.kill(first, signal.SIGKILL)
        await made.until(lambda: made.engine.state == "ready" and made.engine.pid != first)
        note.rmdir()
        await made.until(lambda: note.is_file() and str(made.engine.pid) in note.read_text())
    assert not note.exists()


async def test_adapter_whose_proof_cannot_be_kept_is_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep = StateStore.keep_fingerprint
    is_full = True

    def refusing(self: StateStore, adapter_id: str, base: str, canary: str) -> None:
        if is_full:
            raise Unavailable("no room", code="state_not_kept")
        keep(self, adapter_id, base, canary)

    monkeypatch.setattr(StateStore, "keep_fingerprint", refusing)
    async with timed_plant(tmp_path) as made:
        await made.until_state("ready")
        (naming,) = made.snapshot.tasks["naming"].versions
        assert (naming.state, len(naming.fingerprint)) == ("ready", 12)
        store = made.supervisor._store
        assert store.fingerprint(naming.id, "test") is None
        os.kill(made.engine.pid, signal.SIGKILL)
        await made.until(lambda: made.engine.restarts == 1 and made.engine.state == "ready")
        is_full = False
        await made.until(lambda: store.fingerprint(naming.id, "test") is not None)


def test_change_that_finds_no_room_is_refused_whole_and_the_next_is_kept(tmp_path: Path) -> None:
    store = StateStore(tmp_path)
    pages = store._db.execute("PRAGMA page_count").fetchone()[0]
    store._db.execute(f"PRAGMA max_page_count = {pages}")
    one = Version("naming@1", "/n", settings={"system": "x" * 1_000_000})
    large = Wanted("naming", (one,), changed_at=1.0)
    with pytest.raises(Unavailable, match=r"desired\.sqlite: database or disk is full; make room") as refused:
        store.keep(large)
    assert (refused.value.status, refused.value.code) == (503, "state_not_kept")
    assert not store.changes().tasks
    store._db.execute(f"PRAGMA max_page_count = {pages + 1000}")
    store.keep(large)
    assert store.changes().tasks == {"naming": large}


def test_transaction_that_fails_at_its_end_does_not_stay_open() -> None:
    db = sqlite3.connect(":memory:", isolation_level=None)
    db.execute("PRAGMA foreign_keys = ON")
    db.execute("CREATE TABLE one (id INTEGER PRIMARY KEY)")
    db.execute("CREATE TABLE two (one INTEGER REFERENCES one(id) DEFERRABLE INITIALLY DEFERRED)")
    with pytest.raises(sqlite3.IntegrityError), transaction(db):
        db.execute("INSERT INTO two VALUES (1)")  # which only the COMMIT finds out
    with transaction(db):
        db.execute("INSERT INTO one VALUES (1)")
    assert db.execute("SELECT (SELECT count(*) FROM one), (SELECT count(*) FROM two)").fetchone() == (1, 0)


def test_child_that_cannot_be_watched_does_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    started = list[subprocess.Popen[bytes]]()
    popen: Callable[..., subprocess.Popen[bytes]] = subprocess.Popen

    def noted(*arguments: object, **options: object) -> subprocess.Popen[bytes]:
        if started:
            raise OSError("no watcher")
        started.append(popen(*arguments, **options))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", noted)
    with pytest.raises(OSError, match="no watcher"):
        Child([sys.executable, "-c", "import signal; signal.pause()"], os.environ)
    (child,) = started
    assert child.poll() == -signal.SIGKILL
