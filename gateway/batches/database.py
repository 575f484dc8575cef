"""The facts about files and batches, in SQLite; what is in the files stands beside it (`folder`).

Every worker has its own connection. Each change is one transaction, synced to disk before it is answered, so
that it outlives a kill at any moment. A batch's counts are the exception that does not matter: they are what
its result files hold, and are counted anew from these after a restart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple, fields
from pathlib import Path

from gateway.batches.records import CANCELLABLE, OPEN, BatchRecord, Counts, FileRecord, Status
from gateway.sqlite import open_database, transaction

FILE = "batches.sqlite"
MOST_FILES = 100_000
"""Of one owner: each takes a block of the disk and a row here, however small it is."""
MOST_ENDED = 10_000
"""Batches of one owner that came to their end; the oldest give way to new ones."""
BUSY_TIMEOUT_S = 10.0
"""Another worker's transaction lasts a few milliseconds, and a sync."""

# Only ever added to: a file keeps the number of those that it has had (user_version). AUTOINCREMENT: a `seq`
# that came twice would move the pages of a list.
MIGRATIONS = (
    """
    CREATE TABLE file (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        owner TEXT NOT NULL,
        purpose TEXT NOT NULL,
        filename TEXT NOT NULL,
        size_bytes INTEGER NOT NULL,
        created_at INTEGER NOT NULL,
        expires_at INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX file_owner ON file (owner, seq);
    CREATE INDEX file_expiry ON file (expires_at);
    CREATE TABLE batch (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        owner TEXT NOT NULL,
        endpoint TEXT NOT NULL,
        input_file TEXT NOT NULL,
        output_file TEXT NOT NULL,
        error_file TEXT NOT NULL,
        has_output INTEGER NOT NULL DEFAULT 0,
        has_errors INTEGER NOT NULL DEFAULT 0,
        status TEXT NOT NULL,
        metadata TEXT,
        errors TEXT,
        results_kept_s INTEGER NOT NULL,
        total INTEGER NOT NULL DEFAULT 0,
        completed INTEGER NOT NULL DEFAULT 0,
        failed INTEGER NOT NULL DEFAULT 0,
        input_tokens INTEGER NOT NULL DEFAULT 0,
        output_tokens INTEGER NOT NULL DEFAULT 0,
        created_at INTEGER NOT NULL,
        expires_at INTEGER NOT NULL,
        in_progress_at INTEGER,
        finalizing_at INTEGER,
        completed_at INTEGER,
        failed_at INTEGER,
        expired_at INTEGER,
        cancelling_at INTEGER,
        cancelled_at INTEGER
    ) STRICT;
    CREATE INDEX batch_owner ON batch (owner, seq);
    CREATE INDEX batch_status ON batch (status, seq);
    """,
    """
    CREATE TABLE runner (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        holder TEXT NOT NULL,
        beat INTEGER NOT NULL
    ) STRICT;
    ALTER TABLE batch ADD COLUMN runner TEXT NOT NULL DEFAULT '';
    """,
)

_FILE_COLUMNS = ", ".join(field.name for field in fields(FileRecord))
_BATCH_COLUMNS = ", ".join(field.name for field in fields(BatchRecord))
_OPEN = ", ".join(f"'{status}'" for status in OPEN)


class NoRoom(Exception):
    """The files kept would be more than may be; `kept_bytes` is what there is, `own` whether the owner's.

    `too_many`: so many files it has, the most that it may.
    """

    def __init__(self, kept_bytes: int, own: bool = False, too_many: int = 0) -> None:
        super().__init__(kept_bytes)
        self.kept_bytes = kept_bytes
        self.own = own
        self.too_many = too_many


class Store:
    """One connection; use it in one thread."""

    def __init__(self, folder: Path, *, across: bool = False) -> None:
        """Opens or makes it, and brings it to this version's form. Raises sqlite3.Error, OSError.

        `across`: processes of several machines have it open.
        """
        self._db = open_database(folder / FILE, MIGRATIONS, BUSY_TIMEOUT_S, across=across)

    def close(self) -> None:
        self._db.close()

    # Files.

    def kept_bytes(self, owner: str | None = None) -> int:
        """Of all files, or of one owner's."""
        where, values = ("", ()) if owner is None else (" WHERE owner = ?", (owner,))
        row = self._db.execute(f"SELECT COALESCE(SUM(size_bytes), 0) FROM file{where}", values).fetchone()
        return int(row[0])

    def check_room(self, owner: str, size_bytes: int, most_bytes: int, most_of_owner: int) -> None:
        """Raises NoRoom where so much more would be too much for the owner, or for all together."""
        own_bytes = self.kept_bytes(owner)
        row = self._db.execute("SELECT COUNT(*) FROM file WHERE owner = ?", (owner,)).fetchone()
        if row[0] >= MOST_FILES:
            raise NoRoom(own_bytes, own=True, too_many=row[0])
        if own_bytes + size_bytes > most_of_owner:
            raise NoRoom(own_bytes, own=True)
        kept_bytes = self.kept_bytes()
        if kept_bytes + size_bytes > most_bytes:
            raise NoRoom(kept_bytes)

    def add_file(self, record: FileRecord, most_bytes: int, most_of_owner: int | None = None) -> None:
        """A file whose content is in its place. Raises NoRoom."""
        with transaction(self._db):
            self.check_room(record.owner, record.size_bytes, most_bytes, most_of_owner or most_bytes)
            self._insert("file", record)

    def _insert(self, table: str, record: FileRecord | BatchRecord) -> None:
        names = [field.name for field in fields(record)]
        values = [getattr(record, name) for name in names]
        places = ", ".join("?" * len(names))
        self._db.execute(f"INSERT INTO {table} ({', '.join(names)}) VALUES ({places})", values)

    def file(self, file_id: str, owner: str, now: int) -> FileRecord | None:
        """None where there is none of that owner, or its time is over."""
        row = self._db.execute(
            f"SELECT {_FILE_COLUMNS} FROM file WHERE id = ? AND owner = ? AND expires_at > ?",
            (file_id, owner, now),
        ).fetchone()
        return None if row is None else FileRecord(*row)

    def files(
        self,
        owner: str,
        now: int,
        *,
        after: str | None = None,
        limit: int = 10_000,
        purpose: str | None = None,
        newest_first: bool = True,
    ) -> list[FileRecord] | None:
        """One more than `limit` where there are more; None where `after` is no file of that owner."""
        where, values = ["owner = ?", "expires_at > ?"], [owner, now]
        if purpose is not None:
            where.append("purpose = ?")
            values.append(purpose)
        if after is not None:
            seq = self._seq("file", after, owner)
            if seq is None:
                return None
            where.append("seq < ?" if newest_first else "seq > ?")
            values.append(seq)
        rows = self._db.execute(
            f"SELECT {_FILE_COLUMNS} FROM file WHERE {' AND '.join(where)} "
            f"ORDER BY seq {'DESC' if newest_first else 'ASC'} LIMIT ?",
            (*values, limit + 1),
        )
        return [FileRecord(*row) for row in rows]

    def _seq(self, table: str, found: str, owner: str) -> int | None:
        row = self._db.execute(
            f"SELECT seq FROM {table} WHERE id = ? AND owner = ?", (found, owner)
        ).fetchone()
        return None if row is None else int(row[0])

    def delete_file(self, file_id: str, owner: str) -> str | None:
        """Forget it. The id of an unfinished batch that needs it, and then it stays; "" where there is none.

        None where it is deleted.
        """
        with transaction(self._db):
            # In one transaction with the deletion, so that no batch begins on it in between.
            user = self._db.execute(
                f"SELECT id FROM batch WHERE input_file = ? AND status IN ({_OPEN})", (file_id,)
            ).fetchone()
            if user is not None:
                return str(user[0])
            gone = self._db.execute("DELETE FROM file WHERE id = ? AND owner = ?", (file_id, owner))
            return None if gone.rowcount else ""

    def forget_expired(self, now: int) -> list[str]:
        """Forget the files whose time is over and that no unfinished batch needs; their ids."""
        with transaction(self._db):
            rows = self._db.execute(
                "DELETE FROM file WHERE expires_at <= ? AND id NOT IN "
                f"(SELECT input_file FROM batch WHERE status IN ({_OPEN})) RETURNING id",
                (now,),
            ).fetchall()
        return [row[0] for row in rows]

    def forget_batches(self, ended_before: int) -> None:
        """Forget batches that came to their end before that moment."""
        self._db.execute(
            f"DELETE FROM batch WHERE status NOT IN ({_OPEN}) AND "
            "COALESCE(completed_at, failed_at, expired_at, cancelled_at, created_at) < ?",
            (ended_before,),
        )

    def known_contents(self) -> set[str]:
        """The names that a content may have: of files, and of the results of unfinished batches."""
        rows = self._db.execute(
            "SELECT id FROM file UNION SELECT output_file FROM batch WHERE status IN "
            f"({_OPEN}) UNION SELECT error_file FROM batch WHERE status IN ({_OPEN})"
        )
        return {row[0] for row in rows}

    # Batches.

    def add_batch(self, record: BatchRecord, most_open: int) -> bool:
        """False where the owner has `most_open` unfinished ones already. Beyond `MOST_ENDED` its oldest that
        ended are forgotten.
        """
        with transaction(self._db):
            count = self._db.execute(
                f"SELECT COUNT(*) FROM batch WHERE owner = ? AND status IN ({_OPEN})", (record.owner,)
            ).fetchone()
            if count[0] >= most_open:
                return False
            self._insert("batch", record)
            self._db.execute(
                f"DELETE FROM batch WHERE owner = ?1 AND status NOT IN ({_OPEN}) AND seq <= "
                f"(SELECT seq FROM batch WHERE owner = ?1 AND status NOT IN ({_OPEN}) "
                "ORDER BY seq DESC LIMIT 1 OFFSET ?2)",
                (record.owner, MOST_ENDED),
            )
        return True

    def batch(self, batch_id: str, owner: str | None = None) -> BatchRecord | None:
        """None where there is none, or it is another's."""
        row = self._db.execute(
            f"SELECT {_BATCH_COLUMNS} FROM batch WHERE id = ? AND owner = COALESCE(?, owner)",
            (batch_id, owner),
        ).fetchone()
        return None if row is None else BatchRecord(*row)

    def batches(self, owner: str, *, after: str | None, limit: int) -> list[BatchRecord] | None:
        """The newest first, one more than `limit` where there are more; None where `after` is none."""
        seq = None
        if after is not None:
            seq = self._seq("batch", after, owner)
            if seq is None:
                return None
        rows = self._db.execute(
            f"SELECT {_BATCH_COLUMNS} FROM batch WHERE owner = ? AND (? IS NULL OR seq < ?) "
            "ORDER BY seq DESC LIMIT ?",
            (owner, seq, seq, limit + 1),
        )
        return [BatchRecord(*row) for row in rows]

    def open_batches(self) -> list[BatchRecord]:
        """Every unfinished one, the oldest first."""
        rows = self._db.execute(f"SELECT {_BATCH_COLUMNS} FROM batch WHERE status IN ({_OPEN}) ORDER BY seq")
        return [BatchRecord(*row) for row in rows]

    def take_new(self, runner: str) -> None:
        """Have the batches that nobody had yet be that runner's."""
        with transaction(self._db):
            self._db.execute(
                f"UPDATE batch SET runner = ? WHERE runner = '' AND status IN ({_OPEN})", (runner,)
            )

    def has_open(self) -> bool:
        """Whether any batch is not finished, cancelled or failed yet."""
        found = self._db.execute(f"SELECT EXISTS (SELECT 1 FROM batch WHERE status IN ({_OPEN}))")
        return bool(found.fetchone()[0])

    def move(
        self,
        batch_id: str,
        expected: Sequence[Status],
        status: Status,
        now: int,
        runner: str | None = None,
        **more: object,
    ) -> bool:
        """To another status, where it has one of `expected` still, and is `runner`'s where one is given;
        `more` are other columns.
        """
        columns = {"status": status, f"{status}_at": now, **more}
        assignments = ", ".join(f"{name} = ?" for name in columns)
        places = ", ".join("?" * len(expected))
        with transaction(self._db):
            moved = self._db.execute(
                f"UPDATE batch SET {assignments} WHERE id = ? AND status IN ({places}) "
                "AND runner = COALESCE(?, runner)",
                (*columns.values(), batch_id, *expected, runner),
            )
        return bool(moved.rowcount)

    def cancel(self, batch_id: str, now: int) -> bool:
        """False where it has come too far for that."""
        return self.move(batch_id, CANCELLABLE, "cancelling", now)

    def count(self, runner: str, counts: Mapping[str, Counts]) -> None:
        """How far that runner's are, for whoever asks meanwhile."""
        with transaction(self._db):
            self._db.executemany(
                "UPDATE batch SET completed = ?, failed = ?, input_tokens = ?, output_tokens = ? "
                "WHERE id = ? AND runner = ?",
                [(*astuple(each), batch_id, runner) for batch_id, each in counts.items()],
            )

    def end(
        self,
        batch: BatchRecord,
        status: Status,
        now: int,
        counts: Counts,
        results: Sequence[FileRecord],
        errors: str | None = None,
    ) -> bool:
        """Its end and the files of its results, together; False where it is not that runner's any more."""
        ids = {result.id for result in results}
        with transaction(self._db):
            ended = self._db.execute(
                f"UPDATE batch SET status = ?, {status}_at = ?, has_output = ?, has_errors = ?, "
                "completed = ?, failed = ?, input_tokens = ?, output_tokens = ?, errors = ? "
                f"WHERE id = ? AND runner = ? AND status IN ({_OPEN})",
                (
                    status,
                    now,
                    int(batch.output_file in ids),
                    int(batch.error_file in ids),
                    *astuple(counts),
                    errors,
                    batch.id,
                    batch.runner,
                ),
            )
            if not ended.rowcount:
                return False
            for result in results:
                self._insert("file", result)
        return True

    def take_over(self, before: BatchRecord, now: BatchRecord) -> bool:
        """From the runner that had it to another, and to files of its own; False where it was another's, or
        has ended, meanwhile. From here on nothing that the former does with it counts.
        """
        with transaction(self._db):
            moved = self._db.execute(
                "UPDATE batch SET runner = ?, output_file = ?, error_file = ? "
                f"WHERE id = ? AND runner = ? AND status IN ({_OPEN})",
                (now.runner, now.output_file, now.error_file, before.id, before.runner),
            )
        return bool(moved.rowcount)

    # Who runs them.

    def runner(self) -> tuple[str, int] | None:
        """Who does, and how often it has said so."""
        row = self._db.execute("SELECT holder, beat FROM runner").fetchone()
        return None if row is None else (str(row[0]), int(row[1]))

    def claim(self, holder: str, found: tuple[str, int] | None) -> bool:
        """Have `holder` run them, where it still is as it was found."""
        with transaction(self._db):
            if self.runner() != found:
                return False
            self._db.execute("INSERT OR REPLACE INTO runner VALUES (1, ?, 0)", (holder,))
        return True

    def still_runs(self, holder: str) -> bool:
        """Say so once more; False where it is another by now."""
        with transaction(self._db):
            said = self._db.execute("UPDATE runner SET beat = beat + 1 WHERE holder = ?", (holder,))
        return bool(said.rowcount)

    def leave(self, holder: str) -> None:
        """Nobody runs them, where that one did."""
        with transaction(self._db):
            self._db.execute("DELETE FROM runner WHERE holder = ?", (holder,))
