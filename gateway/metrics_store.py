"""Shared cells: one region per worker, which that worker alone writes and every worker reads."""

from __future__ import annotations

import json
import mmap
import os
import struct
import zlib
from collections.abc import Iterator
from typing import TypeAlias

REGION_BYTES = 16 * 1024 * 1024
"""Only touched pages cost memory. A task with one adapter and one status takes about 640 bytes."""

HEADER_BYTES = 64
RECORD = struct.Struct("=IIII")  # checksum, key's length, number of cells, unused: keeps cells on 8 bytes
USED, OWNER, CLIENTS_WAITING = 0, 1, 2  # words of the header

Cells: TypeAlias = "memoryview[float]"


def key_of(kind: str, *labels: str) -> bytes:
    """A record's key; any text is a valid label."""
    return json.dumps([kind, *labels]).encode()


def parts_of(key: bytes) -> tuple[str, tuple[str, ...]]:
    """Kind and labels of a key made by `key_of`."""
    kind, *labels = json.loads(key)
    return kind, tuple(labels)


class Region:
    """An append-only list of records in anonymous shared memory: a key and a few doubles each.

    Make every region before the first fork; the children then share it. One process writes a region at a
    time. A cell is written in one piece, so a reader needs no lock. A record is counted as used only once it
    is complete, and a reader checks it too, since not every processor shows writes in their order. A writer
    that was killed half way through an append leaves nothing that a reader would see.
    """

    __slots__ = ("_bytes", "_words")

    def __init__(self, size_bytes: int = REGION_BYTES) -> None:
        self._bytes = memoryview(mmap.mmap(-1, size_bytes))
        self._words = self._bytes[: size_bytes // 8 * 8].cast("Q")

    @property
    def alive(self) -> bool:
        """Whether the process that took this region last still runs."""
        pid = self._words[OWNER]
        if not pid:
            return False
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True

    @property
    def clients_waiting(self) -> int:
        """Requests of clients that wait for a place in the writer's process, of all tasks."""
        return self._words[CLIENTS_WAITING]

    @clients_waiting.setter
    def clients_waiting(self, count: int) -> None:
        self._words[CLIENTS_WAITING] = count

    def take(self) -> dict[bytes, Cells]:
        """Make the calling process the writer; returns what its predecessor left."""
        self._words[OWNER] = os.getpid()
        self._words[CLIENTS_WAITING] = 0
        return dict(self.records())

    def append(self, key: bytes, count: int) -> Cells | None:
        """`count` cells at zero under a key that is not there yet; None where the region is full."""
        start = self._words[USED] or HEADER_BYTES
        cells_at = start + RECORD.size + _padded(len(key))
        end = cells_at + 8 * count
        if end > len(self._bytes):
            return None
        self._bytes[start + RECORD.size : start + RECORD.size + len(key)] = key
        self._bytes[cells_at:end] = bytes(8 * count)
        RECORD.pack_into(self._bytes, start, _checksum(key, count), len(key), count, 0)
        self._words[USED] = end
        return self._bytes[cells_at:end].cast("d")

    def records(self) -> Iterator[tuple[bytes, Cells]]:
        """Every complete record, in the order of their making."""
        at, used = HEADER_BYTES, self._words[USED]
        while at < used:
            checksum, key_bytes, count, _ = RECORD.unpack_from(self._bytes, at)
            at += RECORD.size
            key = bytes(self._bytes[at : at + key_bytes])
            if checksum != _checksum(key, count):
                return  # not all of it is visible to this processor yet; the next reading sees it
            at += _padded(key_bytes)
            yield key, self._bytes[at : at + 8 * count].cast("d")
            at += 8 * count


def _padded(length: int) -> int:
    return (length + 7) & ~7


def _checksum(key: bytes, count: int) -> int:
    return zlib.crc32(key, count) or 1  # untouched memory reads as 0 and must not pass
