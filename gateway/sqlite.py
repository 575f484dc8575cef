"""An SQLite file of ours: opened in this release's form, and changed whole or not at all."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

LOOK_S = 0.005
"""Between two tries of what SQLite does not wait for by itself."""


class NewerForm(sqlite3.DatabaseError):
    """A later release wrote the file."""


def open_database(
    file: Path, migrations: Sequence[str], busy_timeout_s: float = 5.0, *, across: bool = False
) -> sqlite3.Connection:
    """A connection for one thread; the file is made where there is none, for its owner alone.

    `migrations` are scripts, each from one form to the next and without a ';' but between its statements. A
    change is on the disk once it is committed; it waits `busy_timeout_s` at most for another process's.
    `across`: of several machines, which share no memory, as a write-ahead log wants it.
    Raises NewerForm, sqlite3.Error, OSError.
    """
    db = sqlite3.connect(file, timeout=busy_timeout_s, isolation_level=None)
    try:
        file.chmod(0o600)  # before anything is written: the files of its journal get the mode that it has
        _set_journal(db, "DELETE" if across else "WAL", busy_timeout_s)
        # A build of SQLite may have another default than FULL, and NORMAL loses the last commits of a
        # write-ahead log with the power. Foreign keys are off unless each connection asks for them.
        for setting in ("synchronous = FULL", "foreign_keys = ON"):
            db.execute(f"PRAGMA {setting}")
        with transaction(db):  # of several that start together the second finds it done
            form = int(db.execute("PRAGMA user_version").fetchone()[0])
            if form > len(migrations):
                raise NewerForm(f"was written by a newer lora-gateway (form {form}); use that one")
            if form < len(migrations):  # else nothing is written, which a full disk would refuse
                # Not by `executescript`, which commits what was begun before.
                for statement in ";".join(migrations[form:]).split(";"):
                    db.execute(statement)
                db.execute(f"PRAGMA user_version = {len(migrations)}")
    except BaseException:
        db.close()
        raise
    return db


def _set_journal(db: sqlite3.Connection, mode: str, wait_s: float) -> None:
    """SQLite refuses another mode at once while somebody writes, whatever its own time to wait is: of several
    that make a file together those would fail that come second.
    """
    until = time.monotonic() + wait_s
    while True:
        try:
            db.execute(f"PRAGMA journal_mode = {mode}")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() >= until:
                raise
        time.sleep(LOOK_S)


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """What is written in the block is kept at its end; where it fails, or that does, nothing is.

    `db` has `isolation_level=None`. A full disk may show at the COMMIT only, and SQLite may have rolled back
    by itself: a transaction left open would refuse every later one. Raises sqlite3.Error.
    """
    # Begun as a plain BEGIN, a reader that comes to write finds that somebody else has, and fails at once:
    # SQLite waits for a lock, not for another view of the file.
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
