"""Files that are replaced in one step: who reads one meanwhile sees the old content or the new, whole."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def write_whole(file: Path, content: bytes, mode: int = 0o600) -> None:
    """Write it for its owner's eyes alone, if `mode` says nothing else. It is not synced to the disk.

    Raises OSError; the file is as it was then, and nothing is left beside it.
    """
    # In the same folder, since no rename leads from one file system to another.
    scratch = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        handle = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
        with open(handle, "wb") as out:
            out.write(content)
        scratch.replace(file)
    except BaseException:
        with suppress(OSError):
            scratch.unlink()
        raise
