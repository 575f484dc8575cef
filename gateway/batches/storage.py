"""One process's way to files and batches: its own connection to the store, in its own thread, and a clock."""

from __future__ import annotations

import asyncio
import logging
import math
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from gateway.batches.database import Store
from gateway.batches.folder import Folder
from gateway.batches.records import FileRecord
from gateway.config.document import BatchesConfig, Config
from gateway.errors import NotFound, Unavailable
from gateway.upkeep import with_mend

logger = logging.getLogger("gateway.batches")

T = TypeVar("T")
AGAIN_S = 60.0
"""A fault that stays is logged so often: whoever runs batches asks every 2 s."""


class BatchStorage:
    """Nothing is opened before it is needed, so that it can be made before workers are forked."""

    def __init__(self, config: Config, clock: Callable[[], float] = time.time) -> None:
        """`clock` gives unix seconds."""
        self.settings: BatchesConfig = config.batches
        self.folder = Folder(config.common_dir)
        self._across = config.common_dir != config.state_dir
        self.clock = clock
        # One thread: SQLite lets no other use its connection, and what is asked keeps its order.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="batches")
        self._store: Store | None = None
        self._complaints: dict[str, float] = {}
        self.news = asyncio.Event()
        """Set by this process's own changes; the runner clears it."""

    @property
    def now(self) -> int:
        """Whole unix seconds, as OpenAI's objects have them."""
        return int(self.clock())

    def most_bytes(self, several_keys: bool) -> tuple[int, int]:
        """Of all files together, and of one key's, so that none of several fills what is there for all."""
        settings = self.settings
        most = settings.max_kept_bytes
        return most, settings.max_kept_bytes_per_key or (most // 2 if several_keys else most)

    def ask(self, question: Callable[[Store], T]) -> asyncio.Future[T]:
        """Its answer, from the store's own thread. Raises Unavailable (503) where there can be no store."""
        # Who asks may be cancelled meanwhile; what was asked is done all the same.
        return asyncio.get_running_loop().run_in_executor(self._thread, self._asked, question)

    def complain(self, fault: str) -> None:
        """Into the log; the same once in `AGAIN_S`."""
        now = time.monotonic()
        if now - self._complaints.get(fault, -math.inf) >= AGAIN_S:
            recent = {text: at for text, at in self._complaints.items() if now - at < AGAIN_S}
            self._complaints = recent | {fault: now}
            logger.error("%s", fault)

    def _asked(self, question: Callable[[Store], T]) -> T:
        try:
            if self._store is None:
                self.folder.make()
                self._store = Store(self.folder.root, across=self._across)
            return question(self._store)
        except (sqlite3.Error, OSError) as error:
            self.complain(f"the batches' store in {self.folder.root} cannot be used: {with_mend(error)}")
            raise Unavailable(
                "Files and batches cannot be reached; the gateway's log says why.",
                code="batches_unavailable",
                retry_after_s=5,
            ) from error

    async def file(self, file_id: str, owner: str, param: str = "id") -> FileRecord:
        """Raises NotFound (404), also where it is another key's; `param` is where the id stood."""
        now = self.now
        return found_file(file_id, await self.ask(lambda store: store.file(file_id, owner, now)), param)

    def close(self) -> None:
        """Let what was asked end, and close the store; it is opened again where it is asked again."""
        self._thread.submit(self._close).result()

    def _close(self) -> None:
        store, self._store = self._store, None
        if store is not None:
            store.close()


def found_file(file_id: str, record: FileRecord | None, param: str = "id") -> FileRecord:
    """Raises NotFound (404) where there is none; `param` is where the id stood."""
    if record is None:
        raise NotFound(f"There is no file '{file_id[:80]}'.", param=param)
    return record
