"""Where the contents of files stand.

    <state_dir>/batches/batches.sqlite    what is known of them, and who runs them
                        files/<id>        contents, and the results of a batch while it runs
                        uploads/<name>    what is still coming

All of it is readable by its owner alone.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import tempfile
import time
from collections.abc import Iterator, Set
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

FOLDER = "batches"
OLDER_LOCK = "runner.lock"
COPY_BYTES = 1 << 20
STRAY_AFTER_S = 3600.0
"""A content that nothing knows of was left by a kill. Younger ones may be on their way in."""


class Unreadable(OSError):
    """The disk does not give a content, though it is there."""


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """For what reads a content. Raises FileNotFoundError, and Unreadable for any other OSError."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise Unreadable(error.errno, error.strerror, str(path)) from error


class Folder:
    """Its paths; everything here blocks."""

    def __init__(self, where: Path) -> None:
        """`where`: the state directory, or the folder that several machines share."""
        self.root = where / FOLDER
        self._files = self.root / "files"
        self._uploads = self.root / "uploads"

    def make(self) -> None:
        """Create the folders that are missing, for their owner alone (mode 700). Raises OSError."""
        # Each by itself: what `parents` makes on the way has the mode of the umask.
        for folder in (self.root.parent, self.root, self._files, self._uploads):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    @contextmanager
    def older_kept_out(self) -> Iterator[bool]:
        """Whether no gateway of release 0.1.0 runs the batches here; within, none begins to.

        It goes by a lock on this file alone, which it has to itself; later ones share that, and tell among
        themselves by the store whose turn it is.
        """
        try:
            handle = os.open(self.root / OLDER_LOCK, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            yield True
            return
        try:
            alone = True
            try:
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                alone = False
            yield alone
        finally:
            os.close(handle)

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
        """As `sync_folder`, of the contents."""
        sync_folder(self._files)

    def add(self, file_id: str, data: bytes | bytearray) -> None:
        """A whole content, into its place; on the disk when it returns. Raises OSError."""
        with self._new(file_id) as file:
            file.write(data)
        self.sync_names()

    def copy(self, file_id: str, other_id: str) -> Unreadable | None:
        """On the disk when it returns; of a content that there is none of, none is made. Raises OSError.

        What keeps it from being read to its end is returned; then the copy ends there.
        """
        path = self.content(file_id)
        try:
            with reading(path):
                source = path.open("rb", buffering=0)  # a read ends before what cannot be read
        except FileNotFoundError:
            return None
        except Unreadable as fault:
            return fault
        with source, self._new(other_id) as target:
            while True:
                try:
                    with reading(path):
                        piece = source.read(COPY_BYTES)
                except Unreadable as fault:
                    return fault
                if not piece:
                    return None
                target.write(piece)

    @contextmanager
    def _new(self, file_id: str) -> Iterator[BinaryIO]:
        """To write a content to; synced at the end, and where that fails, gone."""
        handle = os.open(self.content(file_id), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(handle, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            self.remove(file_id)
            raise

    def remove(self, *file_ids: str) -> None:
        for file_id in file_ids:
            self.content(file_id).unlink(missing_ok=True)

    def now(self) -> float:
        """By the clock that files here are dated by: a file server's own may be hours from this machine's."""
        try:
            with tempfile.TemporaryFile(dir=self.root) as file:
                return os.fstat(file.fileno()).st_mtime
        except OSError:  # there may be no room
            return time.time()

    def sweep(self, known: Set[str], now: float) -> list[str]:
        """Remove contents not among `known`, and uploads that do not come on, which were old at `now`.

        Their names. `now` is before `known` was asked: what has come since may not be among them.
        """
        removed: list[str] = []
        for folder in (self._files, self._uploads):
            for path in folder.iterdir():
                if folder is self._files and path.name in known:
                    continue
                # Gone meanwhile, no file of ours (lost+found), or held: NFS keeps an open one as `.nfs…`.
                with suppress(OSError):
                    if now - path.stat().st_mtime > STRAY_AFTER_S:
                        path.unlink()
                        removed.append(path.name)
        return removed


def sync_folder(folder: Path) -> None:
    """Have the names in it be there after a power failure too. Raises OSError."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
