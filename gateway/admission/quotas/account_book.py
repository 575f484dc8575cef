"""What each account has used, in a file that every worker maps: exact over all of them, and kept."""

from __future__ import annotations

import fcntl
import hashlib
import math
import mmap
import os
import struct
import time
from collections.abc import Callable
from pathlib import Path

from gateway.admission.quotas.account import Entry, Row, is_as_new
from gateway.admission.quotas.periods import month_of
from gateway.admission.quotas.shared_lock import SharedLock
from gateway.errors import ConfigError

FILE = "quotas.bin"
MAGIC = b"lgquota1"
MOST_ACCOUNTS = 16_384
MOST_PROCESSES = 64
GIVEN_AGAIN_AT = 48
"""How many rows have become another account's: who knows where rows stand looks anew when it changes."""
PLACES_AT = 56
"""How many columns are in use, the last one and those before it."""
WORD_BYTES = 8
PIDS_AT = 64
"""Whose each column is; a process locks the word of its own as long as it lives (`fcntl`, by descriptor)."""
RANGE = struct.Struct("hhqqi4x")
"""C's `struct flock`: kind, whence, start, length, pid."""
LOOK_AT_OTHERS_S = 1.0
"""Who finds no room looks so often whether somebody has died with it."""
LOCK_AT = 1024
DIGEST_BYTES = 16
FIELDS = struct.Struct("=8d")
"""requests' level, its time, tokens' level, its time, day, tokens of the day, month, tokens of the month."""
FIELDS_COUNT = 8
ROW_BYTES = DIGEST_BYTES + FIELDS.size + WORD_BYTES * MOST_PROCESSES
WHOLE_ROW = struct.Struct(f"{FIELDS.format}{MOST_PROCESSES}q")
"""All that stands behind an account's digest."""
HEADER_BYTES = 4096
FILE_BYTES = HEADER_BYTES + MOST_ACCOUNTS * ROW_BYTES
"""Some 10 MB."""


class AccountBook:
    """Rows by an account's name. Whoever changes one holds `locked` meanwhile, for some microseconds.

    The file outlives its writers: what was counted before a kill -9 is there afterwards. Only a machine that
    stops at once may lose what the kernel had not written yet.
    """

    def __init__(
        self,
        folder: Path,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Opens or makes it in `folder`; `now` is the time that rows are written by. Raises ConfigError."""
        self._clock = clock
        self._now = now
        self._fd = self._place = -1
        self._looked_at = -math.inf
        self._at: dict[str, int] = {}
        self._given_again = 0
        self._entry = FIELDS
        self._open(folder / FILE)

    def close(self) -> None:
        """Nothing of it is used any more."""
        # In this order: a map that something looks into cannot be closed.
        self._words.release()
        self._lock.close()
        self._map.close()
        os.close(self._fd)

    def locked(self) -> SharedLock:
        """No other process changes anything in the block."""
        return self._lock

    def read(self, account: str) -> Row:
        """The row's fields, zeros where it is new. Call it within `locked`."""
        if self._words[GIVEN_AGAIN_AT // WORD_BYTES] != self._given_again:
            self._look_anew()
        # No row stands at 0: the file's head does.
        return FIELDS.unpack_from(self._map, self._at.get(account) or self._row(account))

    def in_flight(self, account: str) -> int:
        """Requests of every process together. Call it within `locked`."""
        return int(sum(self.entry(account)[FIELDS_COUNT:]))

    def entry(self, account: str) -> Entry:
        """As `read`, and behind it the requests in flight of each process. Call it within `locked`."""
        if self._words[GIVEN_AGAIN_AT // WORD_BYTES] != self._given_again:
            self._look_anew()
        places = self._words[PLACES_AT // WORD_BYTES]
        entry = self._entry
        # Of 64 columns only those in use are read and summed (design 98).
        if entry.size != FIELDS.size + WORD_BYTES * places:
            entry = self._entry = struct.Struct(f"{FIELDS.format}{places}q")
        return entry.unpack_from(self._map, self._at.get(account) or self._row(account))

    def write(self, account: str, fields: Row, more_in_flight: int = 0) -> None:
        """Its levels and sums from now on, as `read` gives them. Call it within `locked`, after one of those.

        `more_in_flight`: requests that this process has at once more, or fewer, than before.
        """
        at = self._at.get(account) or self._row(account)
        FIELDS.pack_into(self._map, at, *fields)
        if more_in_flight:
            own = (at + self._own_at) // WORD_BYTES
            count = self._words[own] + more_in_flight
            self._words[own] = count if count > 0 else 0

    def _open(self, file: Path) -> None:
        try:
            self._fd = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                self._map_whole()
            except BaseException:
                os.close(self._fd)  # who finds no room comes again with the next request
                raise
        except OSError as error:
            mend = f"cannot be used ({error}); limits are counted there"
            raise ConfigError("state_dir", str(file), mend) from error

    def _look_anew(self) -> None:
        """A row was given to another account."""
        self._given_again = self._words[GIVEN_AGAIN_AT // WORD_BYTES]
        self._at.clear()

    def _map_whole(self) -> None:
        """Raises OSError, and ConfigError where there is no column left."""
        # The mutex lies in the file and may have to be made; until then the file's own lock stands for it.
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        try:
            known = os.pread(self._fd, len(MAGIC), 0) == MAGIC
            if not known or os.fstat(self._fd).st_size != FILE_BYTES:  # new, or of another form
                os.ftruncate(self._fd, 0)
                os.ftruncate(self._fd, FILE_BYTES)
                os.pwrite(self._fd, MAGIC, 0)
            # A page of the map that no disk takes would end the process by SIGBUS.
            os.posix_fallocate(self._fd, 0, FILE_BYTES)
            self._map = mmap.mmap(self._fd, FILE_BYTES)
            self._words = memoryview(self._map).cast("q")
            self._lock = SharedLock(self._map, LOCK_AT)
            with self._lock:
                self._claim_place()
        finally:
            fcntl.flock(self._fd, fcntl.LOCK_UN)

    def _row(self, account: str) -> int:
        """Where its fields stand, and from now on are known to."""
        at = self._at[account] = self._find_row(account) + DIGEST_BYTES
        return at

    def _find_row(self, account: str) -> int:
        """Its row, or a new one: the next free place after its own, else another account's that says nothing
        any more (open addressing; no row is ever emptied, so that none behind it is lost)."""
        digest = hashlib.blake2b(account.encode(), digest_size=DIGEST_BYTES).digest()
        start = int.from_bytes(digest[:4]) % MOST_ACCOUNTS
        for step in range(MOST_ACCOUNTS):
            at = HEADER_BYTES + (start + step) % MOST_ACCOUNTS * ROW_BYTES
            found = self._map[at : at + DIGEST_BYTES]
            if found == digest:
                return at
            if not any(found):
                self._map[at : at + DIGEST_BYTES] = digest
                return at
        at = self._row_as_new(account)
        self._map[at : at + ROW_BYTES] = digest.ljust(ROW_BYTES, b"\0")
        self._words[GIVEN_AGAIN_AT // WORD_BYTES] += 1
        self._look_anew()
        return at

    def _row_as_new(self, account: str) -> int:
        self._forget_dead()
        now = self._now()
        month = month_of(now)
        for number in range(MOST_ACCOUNTS):
            at = HEADER_BYTES + number * ROW_BYTES
            if is_as_new(WHOLE_ROW.unpack_from(self._map, at + DIGEST_BYTES), now, month):
                return at
        raise ConfigError("limits", account, f"there are more than {MOST_ACCOUNTS} accounts with limits")

    def forget_dead(self) -> bool:
        """What dead processes had in flight has ended with them: whether there was any that counted still.

        Asked more often than each second it does not look. Call it within `locked`.
        """
        now = self._clock()
        if now - self._looked_at < LOOK_AT_OTHERS_S:
            return False
        self._looked_at = now
        return self._forget_dead()

    def _forget_dead(self) -> bool:
        pids = PIDS_AT // WORD_BYTES
        dead = [
            place for place in range(MOST_PROCESSES) if self._words[pids + place] and self._is_free(place)
        ]
        if not dead:
            return False
        for number in range(MOST_ACCOUNTS):
            at = HEADER_BYTES + number * ROW_BYTES
            if any(self._map[at : at + DIGEST_BYTES]):
                counts = (at + DIGEST_BYTES + FIELDS.size) // WORD_BYTES
                for place in dead:
                    self._words[counts + place] = 0
        for place in dead:
            self._words[pids + place] = 0
        self._count_places()
        return True

    def _claim_place(self) -> None:
        """Take a column for what this process has in flight.

        Raises ConfigError where as many live processes as there are columns use the file.
        """
        self._forget_dead()
        for place in range(MOST_PROCESSES):
            if self._is_free(place):
                break
        else:
            mend = f"has {MOST_PROCESSES} workers already, the most that limits are counted for"
            raise ConfigError("state_dir", FILE, mend)
        # It goes with this open file; POSIX's own goes with any descriptor of it that the process closes.
        fcntl.fcntl(self._fd, fcntl.F_OFD_SETLK, _word_of(place, fcntl.F_WRLCK))
        self._place, self._own_at = place, FIELDS.size + WORD_BYTES * place
        self._words[PIDS_AT // WORD_BYTES + place] = os.getpid()
        self._count_places()

    def _is_free(self, place: int) -> bool:
        """Whether no living process has that column."""
        # The kernel would call it free: a lock is in the way of other open files alone.
        if place == self._place:
            return False
        found = fcntl.fcntl(self._fd, fcntl.F_OFD_GETLK, _word_of(place, fcntl.F_WRLCK))
        return bool(RANGE.unpack(found)[0] == fcntl.F_UNLCK)

    def _count_places(self) -> None:
        pids = PIDS_AT // WORD_BYTES
        taken = [place + 1 for place in range(MOST_PROCESSES) if self._words[pids + place]]
        self._words[PLACES_AT // WORD_BYTES] = max(taken, default=0)


def _word_of(place: int, kind: int) -> bytes:
    return RANGE.pack(kind, os.SEEK_SET, PIDS_AT + WORD_BYTES * place, WORD_BYTES, 0)
