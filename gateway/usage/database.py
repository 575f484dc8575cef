"""The file: a row for each day, key, tenant, task and adapter, which every worker adds to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from gateway.metrics.ledger import FIGURES
from gateway.sqlite import open_database, transaction

FILE = "usage.sqlite"
LABELS = ("day", "key", "tenant", "task", "adapter")
"""What a row is of. A day is UTC's, as `2026-11-28`; what does not apply is empty."""
MIGRATIONS = (
    f"CREATE TABLE usage ({', '.join(f'{name} TEXT NOT NULL' for name in LABELS)}, "
    f"{', '.join(f'{name} INTEGER NOT NULL' for name in FIGURES)}, "
    f"PRIMARY KEY ({', '.join(LABELS)})) WITHOUT ROWID",
)
_ADD = (
    f"INSERT INTO usage ({', '.join((*LABELS, *FIGURES))}) "
    f"VALUES ({', '.join('?' * (len(LABELS) + len(FIGURES)))}) ON CONFLICT DO UPDATE SET "
    + ", ".join(f"{name} = {name} + excluded.{name}" for name in FIGURES)
)
Row = tuple[str | int, ...]
"""Values of LABELS, then of FIGURES."""


@dataclass(frozen=True, slots=True)
class Used:
    """Of one group, or of all: its labels by name, and its figures in the order of FIGURES."""

    labels: dict[str, str]
    figures: Sequence[int]


class UsageDatabase:
    """One connection, for one thread."""

    def __init__(self, state_dir: Path) -> None:
        """Opens or makes the file. Raises sqlite3.Error, OSError."""
        self._db = open_database(state_dir / FILE, MIGRATIONS)

    def close(self) -> None:
        self._db.close()

    def add(self, rows: Iterable[Row]) -> None:
        """Add to what is there, all of it or nothing; it is on the disk afterwards. Raises sqlite3.Error."""
        with transaction(self._db):
            self._db.executemany(_ADD, rows)

    def read(self, by: Sequence[str], since: str, tenant: str | None = None) -> list[Used]:
        """Sums by the labels `by`, of LABELS, from the day `since`; of one tenant's keys alone where given.

        Raises sqlite3.Error.
        """
        assert set(by) <= set(LABELS)
        sums = ", ".join(f"SUM({name})" for name in FIGURES)
        groups = ", ".join(by)
        query = f"SELECT {', '.join((*by, sums))} FROM usage WHERE day >= ?"
        values = [since]
        if tenant is not None:
            query += " AND tenant = ?"
            values.append(tenant)
        query += f" GROUP BY {groups} ORDER BY {groups}"
        found = self._db.execute(query, values)
        # Not strict: the figures stand behind the labels.
        return [Used(dict(zip(by, row, strict=False)), row[len(by) :]) for row in found]


def read_usage(state_dir: Path, by: Sequence[str], since: str, tenant: str | None = None) -> list[Used]:
    """As `UsageDatabase.read`; nothing where nothing was ever counted. Raises sqlite3.Error, OSError."""
    # To open it would make it.
    if not (state_dir / FILE).exists():
        return []
    with closing(UsageDatabase(state_dir)) as database:
        return database.read(by, since, tenant)
