"""The suspects that all workers of a state directory know, over restarts too, and the turn among them."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import msgspec

from gateway.admission.suspects import Records
from gateway.errors import NOT_JSON
from gateway.whole_files import write_whole

_decode = msgspec.json.Decoder(Records).decode


class SuspectFile:
    """`suspects.json` holds digests, never a request's text. Each write is small and follows a death."""

    def __init__(self, folder: Path) -> None:
        # Locks lie on files of their own: a write replaces `suspects.json`, and a lock stays with the old.
        self._file = folder / "suspects.json"
        self._lock = folder / "suspects.lock"
        self._turn = folder / "suspects.turn"
        self._stamp: tuple[int, int] | None = None

    def changed(self) -> Records | None:
        """What stands there, where that is news; nothing where it was removed."""
        try:
            stamp = _stamp_of(self._file)
        except FileNotFoundError:
            known, self._stamp = self._stamp, None
            return None if known is None else {}
        except OSError:
            return None
        if stamp == self._stamp:
            return None
        # From before it is read: what is written in between is news the next time.
        self._stamp = stamp
        return self._read()

    def change(self, to: Callable[[Records], Records]) -> Records:
        """Replace what stands there, while nobody else does; what stands there now. Raises OSError."""
        with open(_opened(self._lock), "rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            records = to(self._read())
            write_whole(self._file, msgspec.json.encode(records))
            self._stamp = _stamp_of(self._file)
        return records

    def try_turn(self) -> int | None:
        """The turn, until what is returned is closed (or its holder ends); None where another has it.

        Raises OSError.
        """
        descriptor = _opened(self._turn)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _read(self) -> Records:
        with contextlib.suppress(OSError, *NOT_JSON):
            return _decode(self._file.read_bytes())
        return {}


def _opened(file: Path) -> int:
    """A file that is there to be locked. Raises OSError."""
    return os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _stamp_of(file: Path) -> tuple[int, int]:
    """Raises OSError."""
    stat = file.stat()
    # Two writes within a tick of the kernel's clock have one time, but never one inode in a row.
    return stat.st_mtime_ns, stat.st_ino
