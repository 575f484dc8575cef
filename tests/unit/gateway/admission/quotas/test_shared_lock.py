"""A lock that processes share: one holds it, and who dies with it takes it to no grave."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import signal
from collections.abc import Iterator

import pytest

from gateway.admission.quotas import shared_lock
from gateway.admission.quotas.shared_lock import BOOT_BYTES, LOCK_BYTES, SharedLock
from tests.support.forked import child

AT = 64
NEW_USER_AND_PID_NAMESPACE = 0x10000000 | 0x20000000


@pytest.fixture
def memory() -> Iterator[mmap.mmap]:
    made = mmap.mmap(-1, 4096)
    yield made
    made.close()  # which fails while anything refers to it


def test_processes_take_turns(memory: mmap.mmap) -> None:
    lock = SharedLock(memory, AT)

    def add() -> None:
        own = SharedLock(memory, AT)
        for _ in range(2000):
            with own:
                memory[:8] = (int.from_bytes(memory[:8]) + 1).to_bytes(8)

    for pid in [child(add) for _ in range(3)]:
        os.waitpid(pid, 0)
    with lock:
        assert int.from_bytes(memory[:8]) == 6000
    lock.close()


def test_who_is_killed_holds_it_no_more(memory: mmap.mmap) -> None:
    lock = SharedLock(memory, AT)
    for _ in range(3):
        pid = os.fork()
        if not pid:
            lock.__enter__()
            os.kill(os.getpid(), signal.SIGKILL)
        os.waitpid(pid, 0)
        with lock:
            pass
    lock.close()


def test_whoever_holds_it_is_told_instead_of_waiting_for_itself(memory: mmap.mmap) -> None:
    lock, same = SharedLock(memory, AT), SharedLock(memory, AT)
    with lock, pytest.raises(OSError, match="deadlock"), same:
        pass
    with same:
        pass
    lock.close()
    same.close()


def test_a_holder_of_the_same_number_elsewhere_is_waited_for(memory: mmap.mmap) -> None:
    lock = SharedLock(memory, AT)
    take, codes = lock._lock, [errno.EDEADLK, errno.EDEADLK]
    lock._lock = lambda mutex: codes.pop() if codes else take(mutex)  # type: ignore[assignment]
    with lock:
        assert not codes
    lock.close()


def test_first_processes_of_two_containers_take_turns(memory: mmap.mmap) -> None:
    """Each is number 1 in its own PID namespace."""

    def first_of_a_container() -> None:
        if ctypes.CDLL(None).unshare(NEW_USER_AND_PID_NAMESPACE):
            memory[8] = 1
            return
        os.waitpid(child(add), 0)

    def add() -> None:
        own = SharedLock(memory, AT)
        assert os.getpid() == 1
        for _ in range(2000):
            with own:
                memory[:8] = (int.from_bytes(memory[:8]) + 1).to_bytes(8)

    SharedLock(memory, AT).close()
    for pid in [child(first_of_a_container) for _ in range(2)]:
        os.waitpid(pid, 0)
    if memory[8]:
        pytest.skip("no namespaces may be made here")
    assert int.from_bytes(memory[:8]) == 4000


def test_one_of_a_start_before_is_made_anew(memory: mmap.mmap, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that stops at once may leave it held in a file, by nobody that there is."""
    held = SharedLock(memory, AT)
    held.__enter__()
    kept = memory[AT : AT + LOCK_BYTES]
    held.__exit__()
    held.close()
    memory[AT : AT + LOCK_BYTES] = kept
    monkeypatch.setattr(shared_lock, "boot_id", lambda: "11111111-2222-3333-4444-555555555555")
    later = SharedLock(memory, AT)
    assert memory[AT : AT + BOOT_BYTES].startswith(b"11111111-")
    with later:
        pass
    later.close()
