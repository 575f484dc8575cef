"""A lock in memory that several processes map: where nobody else holds it, it takes no system call."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import time

from gateway.config.process import boot_id

BOOT_BYTES = 40
LOCK_BYTES = BOOT_BYTES + 64
"""Since which start of the machine there is one, a mutex of POSIX threads, which has 40 or 48 bytes, and at
the end in which PID namespace its holder is."""
HOLDER_BYTES = 8

_SHARED, _ROBUST, _CHECKED = 1, 1, 2
"""PTHREAD_PROCESS_SHARED, PTHREAD_MUTEX_ROBUST, PTHREAD_MUTEX_ERRORCHECK."""
# Not PyDLL: whoever waits for another process lets this one's threads run.
_C = ctypes.CDLL(None)
LOOK_AGAIN_S = 20e-6
"""It is held for some microseconds."""


class SharedLock:
    """Held by one thread of one process at a time; of who dies with it the kernel takes it back.

    A lock on the file does as much, with two system calls each time, and what those drop from a processor's
    caches costs a request more than they do.
    """

    __slots__ = ("_holder", "_lock", "_mutex", "_namespace", "_unlock")

    def __init__(self, memory: mmap.mmap, at: int) -> None:
        """In `memory` from `at` on, a multiple of 8; no two may be made there at once.

        What a file kept of one from before the machine's last start may be held by nobody: it is made anew.
        Raises OSError.
        """
        end = at + BOOT_BYTES
        self._namespace = os.stat("/proc/self/ns/pid").st_ino
        self._holder = ctypes.c_uint64.from_buffer(memory, at + LOCK_BYTES - HOLDER_BYTES)
        boot = boot_id().encode().ljust(BOOT_BYTES, b"\0")
        self._mutex = (ctypes.c_char * (LOCK_BYTES - BOOT_BYTES - HOLDER_BYTES)).from_buffer(memory, end)
        self._lock, self._unlock = _C.pthread_mutex_lock, _C.pthread_mutex_unlock
        if memory[at:end] != boot:
            attributes = ctypes.create_string_buffer(64)
            _check(_C.pthread_mutexattr_init(attributes))
            _check(_C.pthread_mutexattr_setpshared(attributes, _SHARED))
            _check(_C.pthread_mutexattr_setrobust(attributes, _ROBUST))
            _check(_C.pthread_mutexattr_settype(attributes, _CHECKED))
            _check(_C.pthread_mutex_init(self._mutex, attributes))
            # Last: whoever ends before this has made none.
            memory[at:end] = boot

    def close(self) -> None:
        """It lets go of the memory, and is not used any more."""
        del self._mutex, self._holder

    def __enter__(self) -> None:
        """Wait for it. Raises OSError in a thread that holds it already."""
        code = self._lock(self._mutex)
        # The mutex knows its holder by a thread's number, and in another container (a PID namespace of its
        # own) another thread has the same one: the first process of each is number 1.
        while code == errno.EDEADLK and self._holder.value != self._namespace:
            time.sleep(LOOK_AGAIN_S)
            code = self._lock(self._mutex)
        if code == errno.EOWNERDEAD:
            code = _C.pthread_mutex_consistent(self._mutex)
        if code:
            _check(code)
        self._holder.value = self._namespace

    def __exit__(self, *_: object) -> None:
        # Before it is let go of: then it is the next holder's to write.
        self._holder.value = 0
        self._unlock(self._mutex)


def _check(code: int) -> None:
    if code:
        raise OSError(code, os.strerror(code))
