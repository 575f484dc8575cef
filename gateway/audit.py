"""Who changed what, and who was refused: JSON lines in the state directory, synced, bounded in size."""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from gateway.errors import NOT_JSON

logger = logging.getLogger("gateway.audit")

FILE = "audit.jsonl"
MOST_BYTES = 16 * 1024 * 1024
KEPT_FILES = 8
"""Older ones are `audit.jsonl.1`, the youngest, to `audit.jsonl.8`."""

FACTS = ("task", "source", "name", "id", "canary", "shadow", "role", "tenant")
"""Of a command's fields, those that an entry shows."""

Entry = dict[str, object]


class AuditLog:
    """One of a state directory; every process may write, each line whole.

    What cannot be written is logged and stops nothing: an operator must be able to act on a full disk.
    """

    def __init__(self, folder: Path, now: Callable[[], float] = time.time) -> None:
        self._file = folder / FILE
        self._now = now

    def write(self, action: str, who: str, status: int, **facts: object) -> None:
        """`action` as a method and path, `status` as HTTP has it; `facts` that are None are left out.

        Never a key, a prompt or an answer.
        """
        entry = {"at": round(self._now(), 3), "who": who, "action": action, "status": status}
        entry |= {name: value for name, value in facts.items() if value not in (None, "")}
        try:
            self._append(json.dumps(entry, ensure_ascii=False).encode() + b"\n", synced=status < 400)
        except OSError as error:
            logger.error("the audit log misses %s by %s: %s", action, who, error)

    def entries(self, since: float = 0.0) -> Iterator[Entry]:
        """Those from `since` (unix seconds) on, oldest first; a line that was cut off is left out."""
        older = [self._file.with_name(f"{FILE}.{number}") for number in range(KEPT_FILES, 0, -1)]
        for file in [*older, self._file]:
            with contextlib.suppress(FileNotFoundError), file.open("rb") as lines:
                for line in lines:
                    with contextlib.suppress(*NOT_JSON):
                        entry = json.loads(line)
                        if isinstance(entry, dict) and float(entry.get("at", 0)) >= since:
                            yield entry

    def _append(self, line: bytes, *, synced: bool) -> None:
        while True:
            handle = os.open(self._file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX)
                if not self._is_current(handle):
                    continue  # another process has just put it aside
                if os.fstat(handle).st_size + len(line) > MOST_BYTES:
                    self._put_aside()
                    continue
                os.write(handle, line)
                if synced:  # what was refused changed nothing, and whoever is refused may come back at once
                    os.fsync(handle)
                return
            finally:
                os.close(handle)

    def _is_current(self, handle: int) -> bool:
        try:
            return os.fstat(handle).st_ino == self._file.stat().st_ino
        except FileNotFoundError:
            return False

    def _put_aside(self) -> None:
        for number in range(KEPT_FILES, 1, -1):
            with contextlib.suppress(FileNotFoundError):
                self._file.with_name(f"{FILE}.{number - 1}").replace(self._file.with_name(f"{FILE}.{number}"))
        self._file.replace(self._file.with_name(f"{FILE}.1"))
