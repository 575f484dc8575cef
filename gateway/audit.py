"""Who changed what, and who was refused: JSON lines in the state directory, synced, bounded in size."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from gateway.errors import NOT_JSON
from gateway.json_lines import append_lines, older_files

logger = logging.getLogger("gateway.audit")

FILE = "audit.jsonl"
MOST_BYTES = 16 * 1024 * 1024
KEPT_FILES = 8
"""Older ones are `audit.jsonl.1`, the youngest, to `audit.jsonl.8`."""

FACTS = ("task", "source", "name", "id", "canary", "shadow", "role", "tenant")
"""Of a command's fields, those that an entry shows."""

MOST_CHARS = 512
"""Of a text in an entry: a path is as long as a client makes it."""
MOST_NUMBER = 2**63

Entry = dict[str, object]


class AuditLog:
    """One of a state directory; every process may write, each line whole.

    What cannot be written is logged and stops nothing: an operator must be able to act on a full disk.
    """

    def __init__(self, folder: Path, now: Callable[[], float] = time.time) -> None:
        self._file = folder / FILE
        self._now = now
        self._thread = ThreadPoolExecutor(1)  # not the loop's own, of which several would mix the lines

    def write(self, action: str, who: str, status: int, **facts: object) -> None:
        """`action` as a method and path, `status` as HTTP has it; `facts` that are None are left out, and
        texts cut that are long. Never a key, a prompt or an answer.
        """
        entry: Entry = {"at": round(self._now(), 3), "who": _shown(who), "action": _shown(action)}
        entry["status"] = status
        entry |= {name: _shown(value) for name, value in facts.items() if value not in (None, "")}
        try:
            line = json.dumps(entry, ensure_ascii=False).encode() + b"\n"
            # What was refused changed nothing, and whoever is refused may come back at once.
            append_lines(self._file, line, most_bytes=MOST_BYTES, kept=KEPT_FILES, synced=status < 400)
        except OSError as error:
            logger.error("the audit log misses %s by %s: %s", action, who, error)

    def write_soon(self, action: str, who: str, status: int, **facts: object) -> None:
        """As `write`, in a thread: the event loop waits for no disk."""
        self._thread.submit(self.write, action, who, status, **facts)

    async def written(self) -> None:
        """What `write_soon` was given has been written."""
        await asyncio.wrap_future(self._thread.submit(int))  # the thread is at it when all before is done

    def entries(self, since: float = 0.0) -> Iterator[Entry]:
        """Those from `since` (unix seconds) on, oldest first; a line that is none is left out."""
        for file in [*older_files(self._file, KEPT_FILES), self._file]:
            with contextlib.suppress(FileNotFoundError), file.open("rb") as lines:
                for line in lines:
                    with contextlib.suppress(*NOT_JSON):
                        entry = json.loads(line)
                        at = entry.get("at") if isinstance(entry, dict) else None
                        if isinstance(at, int | float) and at >= since:
                            yield entry


def _shown(value: object) -> object:
    """A value that makes no line long: of what is neither text nor a plain number, that it was there."""
    if isinstance(value, str):
        return value if len(value) <= MOST_CHARS else f"{value[: MOST_CHARS - 1]}…"
    if isinstance(value, bool | float) or (isinstance(value, int) and abs(value) < MOST_NUMBER):
        return value
    return "…"
