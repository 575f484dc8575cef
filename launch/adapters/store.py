"""Checked adapters, copied to where nobody changes them: `<state_dir>/adapters/<id>/`.

vLLM reads an adapter again from its folder when it has evicted it, so a folder that is changed in place would
answer under an id that names other content.
"""

from __future__ import annotations

import dataclasses
import shutil
import threading
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path

from launch.adapters.check import Adapter, check_adapter
from launch.adapters.check import adapter_id as id_of
from launch.adapters.copy import AdapterCopy
from launch.base.lora_shapes import Base
from launch.machine.files import FILES, WEIGHTS, Origin

RENAMED_BYTES = 1 << 20
"""By so much at most a copy differs whose modules have other names than the source's (`language_names`)."""


class AdapterStore:
    """One folder per id, holding just the two files that make it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        """Held by whoever removes or replaces a copy."""

    def take(
        self,
        task: str,
        source: Path,
        base: Base,
        rank_limit: int | None = None,
        *,
        key: str | None = None,
        origin: Origin | None = None,
        expect: Callable[[str], None] = lambda _: None,
    ) -> Adapter:
        """Check a folder and copy it, in one reading of it. Raises ConfigError.

        `key` and `origin` name it in errors. `expect` is told the id before its copy is relied on: `remove`
        spares what the caller expects from then on.
        """
        key = key or f"tasks.{task}.adapter"
        if self._may_hold(task, source):  # as at each start: then nothing need be written
            adapter = check_adapter(task, source, base, rank_limit, key=key, origin=origin)
            if self._is_kept(adapter.id, expect):
                return self._kept(adapter)
        with AdapterCopy(self.folder, key) as copy:
            adapter = check_adapter(task, source, base, rank_limit, key=key, origin=origin, copy=copy)
            copy.finish()
            # A sound copy is not replaced by its equal: engines may be reading it.
            if not self._is_kept(adapter.id, expect):
                with self._lock:
                    copy.place(self.path_of(adapter.id))
        return self._kept(adapter)

    def _is_kept(self, adapter_id: str, expect: Callable[[str], None]) -> bool:
        """Whether its copy is sound; from here on nobody removes it."""
        expect(adapter_id)
        with self._lock:
            pass  # a removal that began before has ended, and a later one heeds what is expected
        return self.verify(adapter_id)

    def _kept(self, adapter: Adapter) -> Adapter:
        return dataclasses.replace(adapter, path=self.path_of(adapter.id))

    def _may_hold(self, task: str, source: Path) -> bool:
        """Whether some version of the task is about as long as what comes, so that it may be the same."""
        try:
            size = (source / WEIGHTS).stat().st_size
            return any(
                abs((found / WEIGHTS).stat().st_size - size) < RENAMED_BYTES
                for found in self.folder.iterdir()
                if found.name.rpartition("@")[0] == task
            )
        except (OSError, ValueError):  # ValueError: a zero byte in the path
            return False

    def path_of(self, adapter_id: str) -> Path:
        return self.folder / adapter_id

    def verify(self, adapter_id: str) -> bool:
        """Whether it is there, with the content that its id names."""
        task = adapter_id.rpartition("@")[0]
        folder = self.folder / adapter_id
        try:
            return adapter_id == id_of(task, (folder / FILES[0]).read_bytes(), folder / FILES[1])
        except OSError:
            return False

    def remove(self, adapter_id: str, expected: Collection[str] = ()) -> None:
        """Unless somebody expects it by now."""
        with self._lock:  # an id may be a client's text, and must lead nowhere else
            if "@" in adapter_id and "/" not in adapter_id and adapter_id not in expected:
                shutil.rmtree(self.folder / adapter_id, ignore_errors=True)

    def sweep(self, keep: Collection[str]) -> None:
        """Remove what an earlier life left behind."""
        with suppress(OSError):
            for found in list(self.folder.iterdir()):
                if found.name not in keep:
                    shutil.rmtree(found, ignore_errors=True)
