"""SQLite files of ours: brought to this release's form whole, by one of those who start together."""

from __future__ import annotations

import sqlite3
import threading
import time
from pathlib import Path

import pytest

from gateway.sqlite import NewerForm, open_database, transaction

FIRST = "CREATE TABLE one (n INTEGER) STRICT; INSERT INTO one VALUES (1)"
SECOND = "CREATE TABLE two (n INTEGER) STRICT;"


def tables(db: sqlite3.Connection) -> set[str]:
    return {row[0] for row in db.execute("SELECT name FROM sqlite_master")}


def test_each_form_follows_on_the_one_before(tmp_path: Path) -> None:
    file = tmp_path / "a.sqlite"
    open_database(file, (FIRST,)).close()
    db = open_database(file, (FIRST, SECOND))
    assert tables(db) == {"one", "two"}
    assert db.execute("SELECT n FROM one").fetchall() == [(1,)]
    assert db.execute("PRAGMA user_version").fetchone() == (2,)
    assert file.stat().st_mode & 0o077 == 0
    db.close()


def test_what_several_machines_open_needs_no_memory_that_they_share(tmp_path: Path) -> None:
    for across, journal in ((False, "wal"), (True, "delete")):
        db = open_database(tmp_path / f"{journal}.sqlite", (FIRST,), across=across)
        assert db.execute("PRAGMA journal_mode").fetchone() == (journal,)
        db.close()


def test_a_file_of_this_form_is_opened_without_a_change(tmp_path: Path) -> None:
    db = open_database(tmp_path / "a.sqlite", (FIRST,))
    before = db.execute("PRAGMA data_version").fetchone()
    open_database(tmp_path / "a.sqlite", (FIRST,)).close()
    assert db.execute("PRAGMA data_version").fetchone() == before
    db.close()


def test_a_form_that_fails_leaves_the_one_before(tmp_path: Path) -> None:
    file = tmp_path / "a.sqlite"
    open_database(file, (FIRST,)).close()
    with pytest.raises(sqlite3.OperationalError):
        open_database(file, (FIRST, f"{SECOND} CREATE TABLE one (n INTEGER)"))
    db = open_database(file, (FIRST,))
    assert tables(db) == {"one"}
    db.close()


def test_a_newer_form_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.sqlite"
    open_database(file, (FIRST, SECOND)).close()
    with pytest.raises(NewerForm, match=r"newer lora-gateway \(form 2\)"):
        open_database(file, (FIRST,))


def test_of_those_who_start_together_one_makes_it(tmp_path: Path) -> None:
    together, failed = threading.Barrier(4), []

    def start() -> None:
        together.wait()
        try:
            open_database(tmp_path / "a.sqlite", (FIRST, SECOND)).close()
        except sqlite3.Error as error:
            failed.append(error)

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    db = open_database(tmp_path / "a.sqlite", (FIRST, SECOND))
    assert (failed, db.execute("SELECT n FROM one").fetchall()) == ([], [(1,)])
    db.close()


def test_who_makes_it_a_moment_before_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite by itself waits for nobody with its journal's mode."""
    other = sqlite3.connect(tmp_path / "a.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        open_database(tmp_path / "a.sqlite", (FIRST,), busy_timeout_s=0.0)
    monkeypatch.setattr(time, "sleep", lambda _: other.execute("COMMIT"))
    db = open_database(tmp_path / "a.sqlite", (FIRST,))
    assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert tables(db) == {"one"}
    db.close()
    other.close()


def test_a_change_that_fails_is_none(tmp_path: Path) -> None:
    db = open_database(tmp_path / "a.sqlite", (FIRST,))

    def change() -> None:
        with transaction(db):
            db.execute("INSERT INTO one VALUES (2)")
            raise KeyError

    with pytest.raises(KeyError):
        change()
    assert db.execute("SELECT n FROM one").fetchall() == [(1,)]
    db.close()
