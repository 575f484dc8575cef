"""What commands changed survives."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path
from unittest.mock import Mock

import pytest

from gateway.errors import ConfigError, Unavailable
from gateway.sqlite import open_database
from launch.adapters.versions import Version, Wanted
from launch.supervisor import database
from launch.supervisor.database import FILE, MIGRATIONS, StateStore

NAMING = Wanted(
    "naming",
    (
        Version("naming@1", "/1", 90.0, 8, 10, "/src", 1.5, {"system": "Name it."}),
        Version("naming@2", "/2", 10.0),
    ),
    "naming@1",
    "naming@2",
    0.25,
    7.0,
)


def reopened(folder: Path, store: StateStore) -> StateStore:
    store.close()
    return StateStore(folder)


def test_task_comes_back_as_it_was(tmp_path: Path) -> None:
    store = StateStore(tmp_path)
    store.keep(NAMING)
    store.keep_removed("concept", 8.0)
    changes = reopened(tmp_path, store).changes()
    assert changes.tasks == {"naming": NAMING}
    assert changes.removed == {"concept": 8.0}


def test_later_state_replaces_the_earlier(tmp_path: Path) -> None:
    store = StateStore(tmp_path)
    store.keep(NAMING)
    store.keep(Wanted("naming", NAMING.versions[:1], changed_at=9.0))
    assert [v.id for v in store.changes().tasks["naming"].versions] == ["naming@1"]


def test_forgotten_task_leaves_nothing(tmp_path: Path) -> None:
    store = StateStore(tmp_path)
    store.keep(NAMING)
    store.forget("naming")
    assert not store.changes().tasks
    rows = sqlite3.connect(tmp_path / FILE).execute("SELECT count(*) FROM version").fetchone()
    assert rows == (0,)


def test_change_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    store = StateStore(tmp_path)
    store.keep(NAMING)
    twice = (NAMING.versions[0], NAMING.versions[0])
    with pytest.raises(sqlite3.IntegrityError):
        store.keep(Wanted("naming", twice, changed_at=9.0))
    assert store.changes().tasks == {"naming": NAMING}


def test_fingerprints_belong_to_a_build(tmp_path: Path) -> None:
    store = StateStore(tmp_path)
    store.keep_fingerprint("naming@1", "cpu", "one")
    assert store.fingerprint("naming@1", "cpu") == "one"
    assert store.fingerprint("naming@1", "gpu") is None


def test_lives_are_counted_over_restarts(tmp_path: Path) -> None:
    store = StateStore(tmp_path)
    first = store.next_life()
    assert reopened(tmp_path, store).next_life() == first + 1


def test_a_life_is_no_earlier_than_it_may_be(tmp_path: Path) -> None:
    store = StateStore(tmp_path)
    assert [store.next_life(least) for least in (100, 50, 200)] == [100, 101, 200]


@pytest.mark.parametrize("across", [False, True])
def test_an_earlier_life_changes_nothing_any_more(tmp_path: Path, across: bool) -> None:
    first, second = (StateStore(tmp_path, across=across) for _ in range(2))
    assert not first.outlived(), "it has not begun"
    first.next_life()
    first.keep(NAMING)
    second.next_life()
    assert (first.outlived(), second.outlived()) == (True, False)
    changes: list[Callable[[], object]] = [
        lambda: first.forget("naming"),
        lambda: first.keep(NAMING),
        first.only_ours().__enter__,
    ]
    for change in changes:
        with pytest.raises(Unavailable, match="another control plane has taken over") as refused:
            change()
        assert refused.value.code == "control_plane_elsewhere"
    assert second.changes().tasks == {"naming": NAMING}
    second.forget("naming")
    first.next_life()
    assert second.outlived(), "who begins again is the last again"


def test_one_that_another_holds_is_no_reason_to_move_it_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once = partial(open_database, busy_timeout_s=0.0)
    monkeypatch.setattr("launch.supervisor.database.open_database", at_once)
    first = StateStore(tmp_path, across=True)
    with first.only_ours(), pytest.raises(Unavailable, match="another process holds it"):
        StateStore(tmp_path, across=True)


def test_while_one_removes_what_is_its_own_no_other_begins(tmp_path: Path) -> None:
    first, second = StateStore(tmp_path), StateStore(tmp_path)
    second._db.execute("PRAGMA busy_timeout = 0")
    first.next_life()
    with first.only_ours(), pytest.raises(Unavailable, match="locked"):
        second.next_life()
    assert second.next_life() == 2


def test_older_form_is_brought_up(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / FILE) as db:
        db.executescript(f"{MIGRATIONS[0]} PRAGMA user_version = 1;")
        db.execute("INSERT INTO task VALUES ('naming', 1, NULL, NULL, 0.0, '{}', 3.0)")
    db.close()
    store = StateStore(tmp_path)
    assert store.changes().removed == {"naming": 3.0}
    assert store.next_life() == 1


def test_what_an_earlier_release_wrote_has_its_tasks_settings_for_every_version(tmp_path: Path) -> None:
    store = StateStore(tmp_path)
    store.keep(NAMING)
    store._db.execute("DELETE FROM version_settings")
    read = store.changes().tasks["naming"]
    assert [version.settings for version in read.versions] == [{"system": "Name it."}] * 2


def test_newer_form_and_damage_are_refused_by_name(tmp_path: Path) -> None:
    store = StateStore(tmp_path)
    store._db.execute("PRAGMA user_version = 99")
    store.close()
    with pytest.raises(ConfigError, match="newer lora-gateway"):
        StateStore(tmp_path)
    (tmp_path / FILE).write_bytes(b"no database at all, but long enough to be looked at" * 40)
    for beside in tmp_path.glob(f"{FILE}-*"):
        beside.unlink()
    with pytest.raises(ConfigError, match="move it away"):
        StateStore(tmp_path)


def test_a_full_disk_is_not_taken_for_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = sqlite3.OperationalError("disk I/O error")
    full.sqlite_errorcode = sqlite3.SQLITE_IOERR_SHMSIZE
    monkeypatch.setattr(database, "open_database", Mock(side_effect=full))
    with pytest.raises(ConfigError, match=r"disk I/O error.*make room"):
        StateStore(tmp_path)


def test_only_the_owner_may_read_it(tmp_path: Path) -> None:
    StateStore(tmp_path)
    assert (tmp_path / FILE).stat().st_mode & 0o077 == 0


def test_repeats_are_kept_by_set_up_and_the_later_replace_the_earlier(tmp_path: Path) -> None:
    store = StateStore(tmp_path)
    assert store.repeats("one") is None
    store.keep_repeats("one", "1")
    store.keep_repeats("other", "2")
    store.keep_repeats("one", "3")
    store = reopened(tmp_path, store)
    assert (store.repeats("one"), store.repeats("other")) == ("3", "2")
