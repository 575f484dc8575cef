"""Checked adapters, copied to where nobody changes them: `<state_dir>/adapters/<id>/`.

vLLM reads an adapter again from its folder when it has evicted it, so a folder that is changed in place would
answer under an id that names other content.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import tempfile
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path

from gateway.errors import ConfigError
from launch.adapter_files import FILES, MAX_JSON_BYTES, WEIGHTS, Origin, Unfit, open_regular
from launch.adapters import Adapter, adapter_id, check_adapter
from launch.shapes import Base

SCRATCH = ".incoming-"
SPARE_BYTES = 64 * 1024 * 1024
BLOCK_BYTES = 1 << 20


class AdapterStore:
    """One folder per id, holding just the two files that make it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def take(
        self,
        task: str,
        source: Path,
        base: Base,
        rank_limit: int | None = None,
        *,
        key: str | None = None,
        origin: Origin | None = None,
    ) -> Adapter:
        """Check a folder and copy it. `key` and `origin` name it in errors. Raises ConfigError."""
        key = key or f"tasks.{task}.adapter"
        adapter = check_adapter(task, source, base, rank_limit, key=key, origin=origin)
        if not self.verify(adapter.id):
            self._copy(adapter, key, origin or Origin(str(source)))
        return dataclasses.replace(adapter, path=self.folder / adapter.id)

    def _copy(self, adapter: Adapter, key: str, origin: Origin) -> None:
        kept = self.folder / adapter.id
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._need_room(adapter.size_bytes, key)
            scratch = Path(tempfile.mkdtemp(prefix=SCRATCH, dir=self.folder))
            try:
                for name in FILES:
                    bound = adapter.size_bytes if name == WEIGHTS else MAX_JSON_BYTES
                    _copy_file(adapter.path / name, scratch / name, bound, origin.roots)
                if _id_of(adapter.task, scratch) != adapter.id:
                    raise Unfit("changed while it was copied; try again")
                if kept.exists():
                    shutil.rmtree(kept)  # damaged, or `take` would not be here
                with suppress(OSError):
                    scratch.rename(kept)  # another may have been quicker, with the same content
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
        except Unfit as error:
            raise ConfigError(key, origin.shown, str(error)) from error
        except OSError as error:
            raise ConfigError(
                key,
                str(error.filename or kept),
                f"cannot be copied: {error.strerror}; look at rights and disk",
            ) from error
        if not self.verify(adapter.id):
            raise ConfigError(key, str(kept), "cannot be kept there; look at the folder's rights")

    def _need_room(self, size_bytes: int, key: str) -> None:
        free = shutil.disk_usage(self.folder).free
        if free < size_bytes + SPARE_BYTES:
            raise ConfigError(
                key,
                str(self.folder),
                f"has {free / 1e6:.0f} MB free, a copy needs {size_bytes / 1e6:.0f} MB and some; make room",
            )

    def path_of(self, adapter_id: str) -> Path:
        return self.folder / adapter_id

    def verify(self, adapter_id: str) -> bool:
        """Whether it is there, with the content that its id names."""
        task = adapter_id.rpartition("@")[0]
        try:
            return _id_of(task, self.folder / adapter_id) == adapter_id
        except OSError:
            return False

    def remove(self, adapter_id: str) -> None:
        if "@" in adapter_id and "/" not in adapter_id:
            shutil.rmtree(self.folder / adapter_id, ignore_errors=True)

    def sweep(self, keep: Collection[str]) -> None:
        """Remove what an earlier life left behind."""
        with suppress(OSError):
            for found in list(self.folder.iterdir()):
                if found.name not in keep:
                    shutil.rmtree(found, ignore_errors=True)


def _copy_file(source: Path, target: Path, bound: int, roots: Sequence[Path] | None) -> None:
    """Raises Unfit, OSError."""
    with open_regular(source, roots) as read, target.open("xb") as written:
        copied = 0
        while block := read.read(BLOCK_BYTES):
            copied += len(block)
            if copied > bound:
                raise Unfit("changed while it was copied; try again")
            written.write(block)
        written.flush()
        os.fsync(written.fileno())


def _id_of(task: str, folder: Path) -> str:
    return adapter_id(task, (folder / FILES[0]).read_bytes(), folder / FILES[1])
