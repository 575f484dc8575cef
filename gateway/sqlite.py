"""A change to an SQLite file: whole, or none of it, whatever fails."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """What is written in the block is kept at its end; where it fails, or that does, nothing is.

    `db` has `isolation_level=None`. A full disk may show at the COMMIT only, and SQLite may have rolled back
    by itself: a transaction left open would refuse every later one. Raises sqlite3.Error.
    """
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
