"""A copy of an adapter, written while its source is checked, so that what is kept is what was checked."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from gateway.errors import ConfigError
from launch.adapters.sources.transfer import SCRATCH, SPARE_BYTES
from launch.machine.files import CONFIG, WEIGHTS


class AdapterCopy:
    """In a folder of its own beside the others until it is placed; else gone at the end of the block."""

    def __init__(self, folder: Path, key: str) -> None:
        self._folder = folder
        self._key = key
        self._scratch: Path | None = None
        self._file: BinaryIO | None = None

    def begin(self, settings: bytes, size_bytes: int) -> None:
        """The settings now, room for the weights. Raises ConfigError."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._need_room(size_bytes + len(settings))
            # Beside where it will stay: `place` is one rename, which no engine sees half done.
            self._scratch = Path(tempfile.mkdtemp(prefix=SCRATCH, dir=self._folder))
            with _made(self._scratch / CONFIG) as file:
                file.write(settings)
                _sync(file)
            self._file = _made(self._scratch / WEIGHTS)
        except OSError as error:
            raise self._failed(error) from error

    def update(self, data: bytes, /) -> None:
        """The weights' next bytes. Raises ConfigError."""
        assert self._file is not None
        try:
            self._file.write(data)
        except OSError as error:
            raise self._failed(error) from error

    def finish(self) -> None:
        """On the disk. Raises ConfigError."""
        assert self._file is not None
        try:
            _sync(self._file)
            self._file.close()
        except OSError as error:
            raise self._failed(error) from error

    def place(self, kept: Path) -> None:
        """Where it stays; what lies there is damaged. Raises ConfigError."""
        assert self._scratch is not None
        try:
            if kept.exists():  # a rename replaces no folder that holds something
                shutil.rmtree(kept)
            self._scratch.rename(kept)
            self._scratch = None
        except OSError as error:
            raise self._failed(error) from error

    def __enter__(self) -> AdapterCopy:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            with suppress(OSError):  # what could not be written is said already
                self._file.close()
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)

    def _need_room(self, size_bytes: int) -> None:
        free = shutil.disk_usage(self._folder).free
        if free < size_bytes + SPARE_BYTES:
            raise ConfigError(
                self._key,
                str(self._folder),
                f"has {free / 1e6:.0f} MB free, a copy needs {size_bytes / 1e6:.0f} MB and some; make room",
            )

    def _failed(self, error: OSError) -> ConfigError:
        return ConfigError(
            self._key,
            str(error.filename or self._folder),
            f"cannot be copied: {error.strerror}; look at rights and disk",
        )


def _made(path: Path) -> BinaryIO:
    """A new file that is its owner's alone."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb")


def _sync(file: BinaryIO) -> None:
    # After a restart a command's adapter comes from its copy alone (design 23).
    file.flush()
    os.fsync(file.fileno())
