"""Where the contents of files stand, and who may run the batches in them.

    <state_dir>/batches/batches.sqlite    what is known of them
                        files/<id>        contents, and the results of a batch while it runs
                        uploads/<name>    what is still coming
                        runner.lock       held by the one process that runs batches

All of it is readable by its owner alone.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Set
from pathlib import Path

FOLDER = "batches"
STRAY_AFTER_S = 3600.0
"""A content that nothing knows of was left by a kill. Younger ones may be on their way in."""


class Folder:
    """Its paths; everything here blocks."""

    def __init__(self, state_dir: Path) -> None:
        self.root = state_dir / FOLDER
        self._files = self.root / "files"
        self._uploads = self.root / "uploads"

    def make(self) -> None:
        """Create the folders that are missing, for their owner alone (mode 700). Raises OSError."""
        for folder in (self.root, self._files, self._uploads):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def content(self, file_id: str) -> Path:
        return self._files / file_id

    def begin_upload(self) -> tuple[Path, int]:
        """A new file to write to, and its descriptor."""
        path = self._uploads / secrets.token_hex(12)
        return path, os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    def keep_upload(self, path: Path, file_id: str) -> None:
        """Into its place; the upload was synced to disk, and so is its new name."""
        path.rename(self.content(file_id))
        self.sync_names()

    def sync_names(self) -> None:
        """What was made or renamed is there after a power failure too."""
        handle = os.open(self._files, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def remove(self, file_id: str) -> None:
        self.content(file_id).unlink(missing_ok=True)

    def sweep(self, known: Set[str], now: float) -> list[str]:
        """Remove old contents that are not among `known`, and uploads that do not come on; their names."""
        removed: list[str] = []
        for folder in (self._files, self._uploads):
            for path in folder.iterdir():
                if folder is self._files and path.name in known:
                    continue
                try:
                    if now - path.stat().st_mtime > STRAY_AFTER_S:
                        path.unlink()
                        removed.append(path.name)
                except FileNotFoundError:
                    continue
        return removed

    def try_lock(self) -> int | None:
        """The descriptor of the runner's lock; None while another process has it.

        The kernel gives it back when its holder ends, however that comes.
        """
        handle = os.open(self.root / "runner.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return None
        return handle
