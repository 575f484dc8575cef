"""Lines appended to a file by several processes, each whole, and put aside when the file is large."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path


def append_lines(file: Path, data: bytes, *, most_bytes: int, kept: int, synced: bool = False) -> None:
    """Append whole lines; it blocks. Raises OSError.

    A file that would grow beyond `most_bytes` becomes `<name>.1`, that one `<name>.2`, up to `kept`. What is
    larger by itself gets a file of its own. `synced`: it is on disk afterwards.
    """
    while True:
        handle = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            if not _is_current(handle, file):
                continue  # another process has just put it aside
            size = os.fstat(handle).st_size
            if size and size + len(data) > most_bytes:
                _put_aside(file, kept)
                continue
            try:
                with os.fdopen(handle, "ab", closefd=False) as lines:
                    lines.write(data)
            except OSError:
                # A full disk may have taken half a line, to which the next one would be added.
                os.ftruncate(handle, size)
                raise
            if synced:
                os.fsync(handle)
            return
        finally:
            os.close(handle)


def older_files(file: Path, kept: int) -> list[Path]:
    """Where those that were put aside are, the oldest first, whether they are there or not."""
    return [_numbered(file, number) for number in range(kept, 0, -1)]


def _is_current(handle: int, file: Path) -> bool:
    try:
        return os.fstat(handle).st_ino == file.stat().st_ino
    except FileNotFoundError:
        return False


def _put_aside(file: Path, kept: int) -> None:
    for number in range(kept, 1, -1):
        with contextlib.suppress(FileNotFoundError):
            _numbered(file, number - 1).replace(_numbered(file, number))
    file.replace(_numbered(file, 1))


def _numbered(file: Path, number: int) -> Path:
    return file.with_name(f"{file.name}.{number}")
