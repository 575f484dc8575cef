"""The snapshot's way out: a file that is replaced whole, and whoever listens on the control socket."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec

from gateway.config.snapshot import FILE, Snapshot, encode_snapshot
from gateway.whole_files import write_whole

logger = logging.getLogger("launch.supervisor.publisher")

HEARTBEAT_S = 2.0  # a gateway takes 10 s of silence for the end (gateway.routing.control_socket)
AGAIN_S = 2.0
"""After a failed write, to the next try."""
VERSIONS_PER_LIFE = 1 << 24
LIVES_FROM = 1_767_225_600
"""The year 2026, in unix seconds. With so many versions each, lives stay below 2^53 until 2043: beyond it not
every reader of JSON tells two versions apart."""


def least_life(now: float) -> int:
    """At `now` (unix seconds) a control plane that is alone begins no earlier life than this, whatever its
    state knows: that may have been moved away, and Redis and gateways still go by what came before.

    Of several the folder alone counts: one that is not mounted would be taken for the newest.
    """
    return max(1, int(now) - LIVES_FROM)


class Publisher:
    """Make it in the event loop that it is used in; a reader never sees half a snapshot."""

    def __init__(self, state_dir: Path, life: int, compose: Callable[[int], Snapshot]) -> None:
        """`life` grows with each start of the supervisor, so that a version is never given twice."""
        self._file = state_dir / FILE
        self.life = life
        self._version = life * VERSIONS_PER_LIFE
        self._compose = compose
        self._due = False
        self._failing = False
        self._retry: asyncio.TimerHandle | None = None
        self._listeners: set[asyncio.Event] = set()
        self.snapshot = Snapshot()
        self.line = b""

    def changed(self) -> None:
        """Publish at the end of this turn of the loop, once for all that changes in it."""
        if not self._due:
            self._due = True
            asyncio.get_running_loop().call_soon(self.publish)

    def publish(self) -> int:
        """Now, where anything is different. The version that gateways hear."""
        self._due = False
        composed = self._compose(self._version + 1)
        # Each version has every gateway build its table again, so one that says nothing new is none.
        if msgspec.structs.replace(composed, version=self.snapshot.version) == self.snapshot:
            return self.snapshot.version
        self._version += 1
        self.snapshot = composed
        self.line = encode_snapshot(composed)
        for listener in self._listeners:  # before the file, since a full disk stops no snapshot (design 53)
            listener.set()
        self._keep()
        return self._version

    def _keep(self) -> None:
        """Write the file; where that fails, again later: whoever listens on the socket needs none."""
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        try:
            write_whole(self._file, self.line + b"\n")
        except OSError as error:
            if not self._failing:
                logger.error("%s cannot be written and is tried again: %s", self._file, error)
            self._failing = True
            self._retry = asyncio.get_running_loop().call_later(AGAIN_S, self._keep)
        else:
            if self._failing:
                logger.warning("%s is written again", self._file)
            self._failing = False

    async def lines(self) -> AsyncIterator[bytes]:
        """The current snapshot, then each change, only the newest where several came; empty ones between."""
        news = self.listener()
        try:
            while True:
                try:
                    async with asyncio.timeout(HEARTBEAT_S):
                        await news.wait()
                except TimeoutError:
                    yield b"\n"
                    continue
                news.clear()  # before the line is taken: what is published while it is sent comes next
                yield self.line + b"\n"
        finally:
            self.forget(news)

    def listener(self) -> asyncio.Event:
        """Set now and at each change; `forget` must follow."""
        news = asyncio.Event()
        news.set()
        self._listeners.add(news)
        return news

    def forget(self, news: asyncio.Event) -> None:
        """News are no longer announced to that listener."""
        self._listeners.discard(news)
