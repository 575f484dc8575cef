"""The last requests of every worker, in memory that all of them share: figures and names, never a text."""

from __future__ import annotations

import asyncio
import mmap
import operator
import struct
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial

import msgspec

from gateway.errors import NOT_JSON

SLOTS = 256
"""Of one worker; the oldest gives way."""
SLOT_BYTES = 1024
"""Every name in it is bounded; one that does not fit all the same is left out."""
WITHIN_S = 0.2
"""So late one may be seen."""
Later = Callable[[Callable[[], None]], object]
_HEAD = struct.Struct("=QI")
"""Number and length; the number is written last, and is 0 while the slot is."""


class RecentRequest(msgspec.Struct, frozen=True, array_like=True):
    """Where one request's time went. Times are seconds; None where it did not come so far."""

    at: float
    """Unix seconds of its end."""
    total_s: float
    queue_s: float
    engine_s: float | None
    """Until the engine's answer began, or for a whole answer ended."""
    first_token_s: float | None
    prompt_tokens: int
    completion_tokens: int
    status: int
    code: str
    """An error's, else empty."""
    origin: str
    """client, pipeline or batch."""
    path: str
    """Of its API."""
    task: str
    adapter: str
    replica: str
    key: str
    request_id: str


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(RecentRequest).decode


def after(loop: asyncio.AbstractEventLoop) -> Later:
    """For a worker that serves: to write each for itself took 2 of some 80 us that a request takes."""
    return partial(loop.call_later, WITHIN_S)


class RecentRequests:
    """A ring for each worker: one process writes one, every process reads all."""

    def __init__(self, workers: int = 1, slots: int = SLOTS) -> None:
        """Make it before the fork."""
        self._slots = slots
        self._rings = [mmap.mmap(-1, slots * SLOT_BYTES) for _ in range(workers)]
        self._own = self._rings[0]
        self._count = 0
        # Bounded: more than a ring holds would be written over at once.
        self._kept: deque[Callable[[], RecentRequest]] = deque(maxlen=slots)
        """What is not written yet."""
        self.later: Later = operator.call
        """Writes what is kept: at once, or together with what comes within `WITHIN_S` (`after`)."""

    def take(self, index: int) -> None:
        """Make the calling process the writer of that ring; it goes on behind its predecessor."""
        self._own = self._rings[index]
        self._count = max((number for number, _ in self._numbered(self._own)), default=0)

    def note(self, made: Callable[[], RecentRequest]) -> None:
        """It takes the place of the oldest; `made` is called when it is written."""
        self._kept.append(made)
        if len(self._kept) == 1:  # for the others it is on its way
            self.later(self.write_kept)

    def write_kept(self) -> None:
        """Show what was noted to every worker."""
        kept, ring = list(self._kept), self._own
        self._kept.clear()
        for made in kept:
            body = _encode(made())
            if len(body) > SLOT_BYTES - _HEAD.size:
                continue
            at = self._count % self._slots * SLOT_BYTES
            self._count += 1
            _HEAD.pack_into(ring, at, 0, len(body))
            ring[at + _HEAD.size : at + _HEAD.size + len(body)] = body
            _HEAD.pack_into(ring, at, self._count, len(body))

    def latest(self) -> list[RecentRequest]:
        """Of all workers, the newest first. One that is being written is left out."""
        found = [one for ring in self._rings for _, one in self._numbered(ring)]
        return sorted(found, key=lambda one: one.at, reverse=True)

    def _numbered(self, ring: mmap.mmap) -> Iterator[tuple[int, RecentRequest]]:
        for at in range(0, self._slots * SLOT_BYTES, SLOT_BYTES):
            number, length = _HEAD.unpack_from(ring, at)
            if not number:
                continue
            body = ring[at + _HEAD.size : at + _HEAD.size + length]
            if _HEAD.unpack_from(ring, at) != (number, length):
                continue
            try:
                yield number, _decode(body)
            except NOT_JSON:  # another processor does not show all of it yet
                continue
