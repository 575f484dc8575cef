"""Adapters on one node: those that it sees under the control plane's own path, and copies of the others."""

from __future__ import annotations

from pathlib import Path

from launch.adapters.copy import AdapterCopy
from launch.adapters.store import AdapterStore

KEY = "adapters"


class NodeAdapters:
    """Of one engine. A copy is placed whole, and used only where its content is what its id names."""

    def __init__(self, folder: Path) -> None:
        self._store = AdapterStore(folder)
        self._known: dict[str, str] = {}
        self._asked: set[str] = set()
        """Since the engine's process began."""
        self._copy: AdapterCopy | None = None

    def begin_anew(self) -> None:
        """The engine is another process, and has none."""
        self._asked.clear()

    def folder_of(self, path: str) -> str:
        """Where the node has the adapter of that folder, which is named by its id; empty: nowhere."""
        adapter_id = Path(path).name
        self._asked.add(adapter_id)
        known = self._known.get(adapter_id, "")
        if known and Path(known).is_dir():
            return known
        # A node that shares the control plane's folder needs no copy.
        for store in (AdapterStore(Path(path).parent), self._store):
            if store.verify(adapter_id):
                self._known[adapter_id] = str(store.path_of(adapter_id))
                return self._known[adapter_id]
        return ""

    def begin(self, settings: bytes, size_bytes: int) -> None:
        """A copy begins; one that was begun before is given up. Raises ConfigError where there is no room."""
        self._give_up()
        self._copy = AdapterCopy(self._store.folder, KEY)
        self._copy.__enter__()  # by hand: it lasts for several calls of the actor
        try:
            self._copy.begin(settings, size_bytes)
        except BaseException:
            self._give_up()
            raise

    def write(self, data: bytes) -> None:
        """The weights' next bytes. Raises ConfigError."""
        assert self._copy is not None
        self._copy.update(data)

    def end(self, adapter_id: str) -> str:
        """Where the copy is; empty where its content is not what the id names. Raises ConfigError."""
        assert self._copy is not None
        try:
            self._copy.finish()
            self._copy.place(self._store.path_of(adapter_id))
        finally:
            self._give_up()
        return str(self._store.path_of(adapter_id)) if self._store.verify(adapter_id) else ""

    def drop(self, adapter_id: str) -> None:
        """The engine has it no more; a copy of it is removed.

        So are those that this engine was never asked for: their end came while there was none to hear of it.
        """
        self._known.pop(adapter_id, None)
        self._asked.discard(adapter_id)
        self._store.remove(adapter_id)
        if self._copy is None:
            self._store.sweep(self._asked)

    def _give_up(self) -> None:
        copy, self._copy = self._copy, None
        if copy is not None:
            copy.__exit__(None, None, None)
