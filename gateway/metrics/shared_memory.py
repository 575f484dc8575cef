"""Shared cells: one region per worker, which that worker alone writes and every worker reads."""

from __future__ import annotations

import json
import mmap
import os
import struct
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeAlias

REGION_BYTES = 16 * 1024 * 1024
"""Only touched pages cost memory. A task with one adapter and one status takes about 640 bytes."""

HEADER_BYTES = 64
RECORD = struct.Struct("=IIII")  # checksum, key's length, number of cells, whether it is free: 16 bytes
USED, OWNER, CLIENTS_WAITING, CHANGES = 0, 1, 2, 3  # words of the header
READ_TRIES = 50
READ_PAUSE_S = 0.001

Cells: TypeAlias = "memoryview[float]"


def key_of(kind: str, *labels: str) -> bytes:
    """A record's key; any text is a valid label."""
    return json.dumps([kind, *labels]).encode()


def parts_of(key: bytes) -> tuple[str, tuple[str, ...]]:
    """Kind and labels of a key made by `key_of`."""
    kind, *labels = json.loads(key)
    return kind, tuple(labels)


class Region:
    """A list of records in anonymous shared memory: a key and a few doubles each.

    Records are appended; one that is let go leaves its place to the next of the same size (`replacing`).

    Make every region before the first fork; the children then share it. One process writes a region at a
    time. A cell is written in one piece, so a reader needs no lock. A record is counted as used only once it
    is complete, and a reader checks it too, since not every processor shows writes in their order. A writer
    that was killed half way through an append leaves nothing that a reader would see.
    """

    __slots__ = ("_at", "_bytes", "_free", "_words")

    def __init__(self, size_bytes: int = REGION_BYTES) -> None:
        self._bytes = memoryview(mmap.mmap(-1, size_bytes))
        self._words = self._bytes[: size_bytes // 8 * 8].cast("Q")
        self._at: dict[bytes, int] = {}
        self._free: dict[tuple[int, int], list[int]] = {}
        """By a key's padded length and the number of cells; both are the writer's own."""

    @property
    def alive(self) -> bool:
        """Whether the process that took this region last still runs."""
        return is_alive(self._words[OWNER])

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
        # Of a predecessor that was killed half way. Counted on, not back: who began to read before would find
        # the number that it began with.
        self._words[CHANGES] += self._words[CHANGES] & 1
        self._mend()
        self._at.clear()
        self._free.clear()
        taken: dict[bytes, Cells] = {}
        for at, key, count, is_free in self._places():
            if is_free:
                self._free.setdefault((_padded(len(key)), count), []).append(at)
            else:
                self._at[key] = at
                taken[key] = self._cells(at, key, count)
        return taken

    def _mend(self) -> None:
        """Let go of a place whose key was half replaced: no record behind it would be seen any more."""
        at, used = HEADER_BYTES, self._words[USED]
        while at < used:
            checksum, key_bytes, count, _ = RECORD.unpack_from(self._bytes, at)
            key = bytes(self._bytes[at + RECORD.size : at + RECORD.size + key_bytes])
            if checksum != _checksum(key, count):
                RECORD.pack_into(self._bytes, at, _checksum(key, count), key_bytes, count, 1)
            at += RECORD.size + _padded(key_bytes) + 8 * count

    def append(self, key: bytes, count: int) -> Cells | None:
        """`count` cells at zero under a key that is not there yet; None where the region is full."""
        if free := self._free.get((_padded(len(key)), count)):
            return self._refilled(free.pop(), key, count)
        start = self._words[USED] or HEADER_BYTES
        cells_at = start + RECORD.size + _padded(len(key))
        end = cells_at + 8 * count
        if end > len(self._bytes):
            return None
        self._bytes[start + RECORD.size : start + RECORD.size + len(key)] = key
        self._bytes[cells_at:end] = bytes(8 * count)
        RECORD.pack_into(self._bytes, start, _checksum(key, count), len(key), count, 0)
        self._words[USED] = end  # last: no reader looks beyond it
        self._at[key] = start
        return self._bytes[cells_at:end].cast("d")

    def _refilled(self, at: int, key: bytes, count: int) -> Cells:
        with self.replacing():
            cells = self._cells(at, key, count)
            cells[:] = memoryview(bytes(8 * count)).cast("d")
            self._bytes[at + RECORD.size : at + RECORD.size + len(key)] = key
            RECORD.pack_into(self._bytes, at, _checksum(key, count), len(key), count, 0)
        self._at[key] = at
        return cells

    @contextmanager
    def replacing(self) -> Iterator[None]:
        """What is changed in the block readers see whole or not at all; keep it short."""
        self._words[CHANGES] += 1
        try:
            yield
        finally:
            self._words[CHANGES] += 1

    def remove(self, key: bytes) -> None:
        """Let a record go, within `replacing`; its cells must not be used again. Raises KeyError."""
        at = self._at.pop(key)
        checksum, key_bytes, count, _ = RECORD.unpack_from(self._bytes, at)
        RECORD.pack_into(self._bytes, at, checksum, key_bytes, count, 1)
        self._free.setdefault((_padded(key_bytes), count), []).append(at)

    def records(self) -> Iterator[tuple[bytes, Cells]]:
        """Every complete record, in the order of their places."""
        for at, key, count, is_free in self._places():
            if not is_free:
                yield key, self._cells(at, key, count)

    def read(self) -> list[tuple[bytes, list[float]]]:
        """Every complete record with its values, none of them from within a change. Not in the event loop."""
        for _ in range(READ_TRIES):
            before = self._words[CHANGES]
            found = [(key, list(cells)) for key, cells in self.records()]
            if not before % 2 and self._words[CHANGES] == before:
                break
            time.sleep(READ_PAUSE_S)
        return found  # after so many tries its writer was killed half way through a change

    def _places(self) -> Iterator[tuple[int, bytes, int, bool]]:
        """Of each complete record where it begins, its key and number of cells, and whether it was let go."""
        at, used = HEADER_BYTES, self._words[USED]
        while at < used:
            checksum, key_bytes, count, is_free = RECORD.unpack_from(self._bytes, at)
            key = bytes(self._bytes[at + RECORD.size : at + RECORD.size + key_bytes])
            if checksum != _checksum(key, count):
                return  # not all of it is visible to this processor yet; the next reading sees it
            yield at, key, count, bool(is_free)
            at += RECORD.size + _padded(key_bytes) + 8 * count

    def _cells(self, at: int, key: bytes, count: int) -> Cells:
        start = at + RECORD.size + _padded(len(key))
        return self._bytes[start : start + 8 * count].cast("d")


def _padded(length: int) -> int:
    # So that each double lies at a multiple of 8: one across two cache lines is not written in one piece.
    return (length + 7) & ~7


def _checksum(key: bytes, count: int) -> int:
    return zlib.crc32(key, count) or 1  # untouched memory reads as 0 and must not pass


def is_alive(pid: int) -> bool:
    """Whether a process runs, whoever's it is; 0 is none."""
    if not pid:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
