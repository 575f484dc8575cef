"""What commands changed, kept in SQLite: it outlives every process, whenever it is killed.

The configuration is the first state and is not copied here; only tasks that a command has touched are. Each
change is one transaction, synced to disk before anybody acts on it.
"""

from __future__ import annotations

import dataclasses
import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gateway.errors import ConfigError, Unavailable
from gateway.sqlite import NewerForm, open_database, transaction
from gateway.upkeep import HELD, MEND, mend_of
from launch.adapters.versions import Version, Wanted

FILE = "desired.sqlite"
OUTLIVED = "Nothing was changed: another control plane has taken over and leads now; ask there."

MIGRATIONS = (
    """
    CREATE TABLE task (
        name TEXT PRIMARY KEY,
        removed INTEGER NOT NULL,
        previous TEXT,
        shadow TEXT,
        shadow_share REAL NOT NULL,
        settings TEXT NOT NULL,
        changed_at REAL NOT NULL
    ) STRICT;
    CREATE TABLE version (
        task TEXT NOT NULL REFERENCES task(name) ON DELETE CASCADE,
        position INTEGER NOT NULL,
        id TEXT NOT NULL,
        path TEXT NOT NULL,
        weight REAL NOT NULL,
        rank INTEGER NOT NULL,
        size_bytes INTEGER NOT NULL,
        source TEXT NOT NULL,
        added_at REAL NOT NULL,
        PRIMARY KEY (task, id)
    ) STRICT;
    CREATE TABLE fingerprint (
        id TEXT NOT NULL,
        base TEXT NOT NULL,
        canary TEXT NOT NULL,
        PRIMARY KEY (id, base)
    ) STRICT;
    """,
    """
    CREATE TABLE counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;
    """,
    """
    CREATE TABLE api_key (
        name TEXT PRIMARY KEY,
        sha256 TEXT NOT NULL UNIQUE,
        settings TEXT NOT NULL,
        created_at REAL NOT NULL,
        created_by TEXT NOT NULL,
        revoked_at REAL
    ) STRICT;
    """,
    """
    CREATE TABLE repeats (setup TEXT PRIMARY KEY, counts TEXT NOT NULL) STRICT;
    """,
    # No column of `version`: a control plane of an earlier release may still lead, and writes those it knows.
    """
    CREATE TABLE version_settings (
        task TEXT NOT NULL,
        id TEXT NOT NULL,
        settings TEXT NOT NULL,
        PRIMARY KEY (task, id),
        FOREIGN KEY (task, id) REFERENCES version(task, id) ON DELETE CASCADE
    ) STRICT;
    """,
)


@dataclass(frozen=True)
class Changes:
    """Tasks that commands changed, and those that they removed, each with when (unix seconds)."""

    tasks: Mapping[str, Wanted]
    removed: Mapping[str, float]


@dataclass(frozen=True)
class KeyRow:
    """An API key that a command made; `settings` is JSON in the configuration's form."""

    name: str
    sha256: str
    settings: str
    created_at: float
    created_by: str
    revoked_at: float | None


class StateStore:
    """The supervisor's own file; use it in one thread. What writes raises Unavailable on a full disk."""

    def __init__(self, folder: Path, *, across: bool = False) -> None:
        """Opens or makes it, and brings it to this version's form. Raises ConfigError, and Unavailable where
        another process does not let go of it.

        `across`: control planes of several machines have it open.
        """
        file = self._file = folder / FILE
        self._life: int | None = None
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._db = open_database(file, MIGRATIONS, across=across)
        except NewerForm as error:
            raise ConfigError("state_dir", str(file), str(error)) from error
        except (sqlite3.DatabaseError, OSError) as error:
            said = f"cannot be used ({error})"
            if mend := mend_of(error):
                said += f"; {mend}"
            if mend == HELD:
                raise Unavailable(f"{file} {said}.", code="state_not_kept") from error
            raise ConfigError("state_dir", str(file), said) from error

    def close(self) -> None:
        self._db.close()

    def changes(self) -> Changes:
        """All that commands changed and that is kept: tasks with their versions, and what was removed."""
        versions: dict[str, list[Version]] = {}
        rows = self._db.execute(
            "SELECT task, id, path, weight, rank, size_bytes, source, added_at, "
            # An earlier release kept settings of the task alone, and has no row for each version.
            "coalesce(version_settings.settings, task.settings) FROM version JOIN task ON name = task "
            "LEFT JOIN version_settings USING (task, id) ORDER BY task, position"
        )
        for task, *values, settings in rows:
            versions.setdefault(task, []).append(Version(*(*values, json.loads(settings))))
        tasks: dict[str, Wanted] = {}
        removed: dict[str, float] = {}
        rows = self._db.execute(
            "SELECT name, removed, previous, shadow, shadow_share, changed_at FROM task ORDER BY name"
        )
        for name, gone, previous, shadow, share, changed_at in rows:
            if gone:
                removed[name] = changed_at
                continue
            tasks[name] = Wanted(name, tuple(versions.get(name, ())), previous, shadow, share, changed_at)
        return Changes(tasks, removed)

    def keep(self, wanted: Wanted) -> None:
        """A task as a command left it."""
        self._write(wanted, removed=False)

    def keep_removed(self, name: str, at: float) -> None:
        """A task of the configuration that a command removed."""
        self._write(Wanted(name, changed_at=at), removed=True)

    def forget(self, name: str) -> None:
        """Nothing was changed: the configuration holds again."""
        with self._change():
            self._db.execute("DELETE FROM task WHERE name = ?", (name,))

    @contextmanager
    def only_ours(self) -> Iterator[None]:
        """Within the block no other control plane begins. Raises Unavailable (503) where one has, and where
        the file cannot be written.
        """
        with self._change():  # BEGIN IMMEDIATE has the file's write lock, without which no life begins
            yield

    @contextmanager
    def _change(self) -> Iterator[None]:
        """Raises Unavailable (503) where a later life has begun, or the file cannot be written."""
        try:
            with transaction(self._db):
                if self.outlived():  # within the transaction, or another could begin before the write
                    raise Unavailable(OUTLIVED, code="control_plane_elsewhere", retry_after_s=5)
                yield
        except sqlite3.OperationalError as error:
            raise Unavailable(
                f"Nothing was changed, for it could not be kept: {self._file}: {error}; "
                f"{mend_of(error) or MEND}, and try again.",
                code="state_not_kept",
            ) from error

    def _write(self, wanted: Wanted, *, removed: bool) -> None:
        task = (
            wanted.name,
            int(removed),
            wanted.previous,
            wanted.shadow,
            wanted.shadow_share,
            json.dumps(wanted.settings),
            wanted.changed_at or 0.0,
        )
        versions = [
            (wanted.name, index, v.id, v.path, v.weight, v.rank, v.size_bytes, v.source, v.added_at)
            for index, v in enumerate(wanted.versions)
        ]
        with self._change():
            # No UPDATE: with the row its versions and their settings go (ON DELETE CASCADE).
            self._db.execute("DELETE FROM task WHERE name = ?", (wanted.name,))
            self._db.execute("INSERT INTO task VALUES (?, ?, ?, ?, ?, ?, ?)", task)
            self._db.executemany("INSERT INTO version VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", versions)
            own = [(wanted.name, v.id, json.dumps(v.settings)) for v in wanted.versions]
            self._db.executemany("INSERT INTO version_settings VALUES (?, ?, ?)", own)

    def fingerprint(self, adapter_id: str, base: str) -> str | None:
        """What an adapter and that base scored when the adapter was proven first, as JSON (`ProofScores`)."""
        row = self._db.execute(
            "SELECT canary FROM fingerprint WHERE id = ? AND base = ?", (adapter_id, base)
        ).fetchone()
        return None if row is None else str(row[0])

    def keep_fingerprint(self, adapter_id: str, base: str, canary: str) -> None:
        with self._change():
            self._db.execute(
                "INSERT OR REPLACE INTO fingerprint VALUES (?, ?, ?)", (adapter_id, base, canary)
            )

    def repeats(self, setup: str) -> str | None:
        """How engines of that set-up repeated themselves, as JSON."""
        row = self._db.execute("SELECT counts FROM repeats WHERE setup = ?", (setup,)).fetchone()
        return None if row is None else str(row[0])

    def keep_repeats(self, setup: str, counts: str) -> None:
        with self._change():
            self._db.execute("INSERT OR REPLACE INTO repeats VALUES (?, ?)", (setup, counts))

    def api_keys(self) -> list[KeyRow]:
        """Those that commands made, the revoked ones too."""
        rows = self._db.execute(
            "SELECT name, sha256, settings, created_at, created_by, revoked_at FROM api_key ORDER BY name"
        )
        return [KeyRow(*row) for row in rows]

    def keep_api_key(self, row: KeyRow) -> None:
        """A key as a command made or changed it."""
        with self._change():
            self._db.execute(
                "INSERT OR REPLACE INTO api_key VALUES (?, ?, ?, ?, ?, ?)", dataclasses.astuple(row)
            )

    def outlived(self) -> bool:
        """Whether another supervisor has begun since this one did. Raises sqlite3.Error."""
        if self._life is None:
            return False
        row = self._db.execute("SELECT value FROM counter WHERE name = 'life'").fetchone()
        return row is not None and int(row[0]) != self._life

    def next_life(self, least: int = 1) -> int:
        """A number, from `least` on, that grows with each start of a supervisor; none before it changes
        anything any more.
        """
        self._life = None
        with self._change():
            row = self._db.execute(
                "INSERT INTO counter VALUES ('life', ?1) "
                "ON CONFLICT(name) DO UPDATE SET value = max(value + 1, ?1) RETURNING value",
                (least,),
            ).fetchone()
        self._life = int(row[0])
        return self._life
