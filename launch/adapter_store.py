"""Checked adapters, copied to where nobody changes them: `<state_dir>/adapters/<id>/`.

vLLM reads an adapter again from its folder when it has evicted it, so a folder that is changed in place would
answer under an id that names other content.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from gateway.errors import ConfigError
from launch.adapters import Adapter, adapter_id, check_adapter
from launch.shapes import Base

FILES = ("adapter_config.json", "adapter_model.safetensors")
SCRATCH = ".incoming-"
SPARE_BYTES = 64 * 1024 * 1024


class AdapterStore:
    """One folder per id, holding just the two files that make it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def take(
        self, task: str, source: Path, base: Base, rank_limit: int | None = None, *, key: str | None = None
    ) -> Adapter:
        """Check a folder and copy it. `key` names it in errors. Raises ConfigError."""
        adapter = check_adapter(task, source, base, rank_limit)
        kept = self.folder / adapter.id
        if not self.verify(adapter.id):
            self._copy(adapter, kept, key or f"tasks.{task}.adapter")
        return Adapter(adapter.task, adapter.id, kept, adapter.rank, adapter.size_bytes, adapter.warnings)

    def _copy(self, adapter: Adapter, kept: Path, key: str) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            free = shutil.disk_usage(self.folder).free
            if free < adapter.size_bytes + SPARE_BYTES:
                raise ConfigError(
                    key, str(self.folder), f"has {free / 1e6:.0f} MB free, too little for a copy"
                )
            scratch = Path(tempfile.mkdtemp(prefix=SCRATCH, dir=self.folder))
            try:
                for name in FILES:
                    shutil.copyfile(adapter.path / name, scratch / name)
                    with (scratch / name).open("rb") as copied:
                        os.fsync(copied.fileno())
                if _id_of(adapter.task, scratch) != adapter.id:
                    raise ConfigError(key, str(adapter.path), "changed while it was copied; try again")
                if kept.exists():
                    shutil.rmtree(kept)  # damaged, or `take` would not be here
                with suppress(FileExistsError, OSError):
                    scratch.rename(kept)  # another may have been quicker, with the same content
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
        except OSError as error:
            raise ConfigError(
                key, str(error.filename or kept), f"cannot be copied: {error.strerror}"
            ) from error
        if not self.verify(adapter.id):
            raise ConfigError(key, str(kept), "cannot be kept there; look at the folder's rights")

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


def _id_of(task: str, folder: Path) -> str:
    return adapter_id(task, (folder / FILES[0]).read_bytes(), folder / FILES[1])
