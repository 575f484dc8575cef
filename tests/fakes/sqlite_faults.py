"""Faults as SQLite raises them: with the code of what happened, which its text says less surely."""

from __future__ import annotations

import sqlite3


def sqlite_fault(code: int) -> sqlite3.DatabaseError:
    """One of a code such as `sqlite3.SQLITE_FULL`."""
    fault = sqlite3.DatabaseError(f"code {code}")
    fault.sqlite_errorcode = code
    return fault
