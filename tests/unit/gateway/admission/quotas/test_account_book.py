"""Accounts in a file that processes share: exact under all of them, kept, and free of what the dead had."""

from __future__ import annotations

import errno
import gc
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.admission.quotas import account_book
from gateway.admission.quotas.account_book import FILE, LOOK_AT_OTHERS_S, MAGIC, AccountBook
from gateway.admission.quotas.periods import month_of
from gateway.errors import ConfigError
from tests.support.forked import child

NEW = (0.0,) * 8


class Clock:
    """Turned by the test."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def book(tmp_path: Path) -> Iterator[AccountBook]:
    made = AccountBook(tmp_path)
    yield made
    made.close()


def holding_two(folder: Path) -> int:
    """The id of a process that has two requests of `key:a` at once, until it is killed."""
    reader, writer = os.pipe()

    def work() -> None:
        mine = AccountBook(folder)
        with mine.locked():
            mine.write("key:a", mine.read("key:a"), 2)
        os.write(writer, b".")
        signal.pause()

    pid = child(work)
    os.read(reader, 1)
    return pid


def test_rows_are_kept_over_a_restart(tmp_path: Path) -> None:
    book = AccountBook(tmp_path)
    with book.locked():
        assert book.read("key:a") == NEW
        book.write("key:a", (0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0))
        book.write("key:a", book.read("key:a"), 3)
        assert (book.in_flight("key:a"), book.in_flight("key:b")) == (3, 0)
    book.close()
    again = AccountBook(tmp_path)
    with again.locked():
        assert again.read("key:a") == tuple(map(float, range(8)))
        assert again.in_flight("key:a") == 0, "its own, of a life before, has ended"
    again.close()
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600


def test_many_processes_lose_nothing(tmp_path: Path, book: AccountBook) -> None:
    def work() -> None:
        mine = AccountBook(tmp_path)
        for _ in range(500):
            with mine.locked():
                count, at, *_ = mine.read("gateway")
                mine.write("gateway", (count + 1, at, 0, 0, 0, 0, 0, 0), 1)

    for pid in [child(work) for _ in range(4)]:
        os.waitpid(pid, 0)
    with book.locked():
        assert book.read("gateway")[0] == 2000
        assert book.in_flight("gateway") >= 500, "whoever died meanwhile left it until somebody comes"
    later = AccountBook(tmp_path)
    with later.locked():
        assert later.in_flight("gateway") == 0
    later.close()


def test_what_a_killed_process_had_goes_and_a_live_ones_stays(tmp_path: Path, book: AccountBook) -> None:
    pid = holding_two(tmp_path)
    with book.locked():
        assert book.in_flight("key:a") == 2
    other = child(lambda: AccountBook(tmp_path).close())
    os.waitpid(other, 0)
    with book.locked():
        assert book.in_flight("key:a") == 2, "its owner lives"
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    other = child(lambda: AccountBook(tmp_path).close())
    os.waitpid(other, 0)
    with book.locked():
        assert book.in_flight("key:a") == 0


def test_who_stays_sees_by_itself_that_another_has_died(tmp_path: Path) -> None:
    """Of two gateways one is killed and not started again: what it had at once may bound nobody."""
    clock = Clock()
    book = AccountBook(tmp_path, clock)
    pid = holding_two(tmp_path)
    with book.locked():
        book.write("key:a", book.read("key:a"), 1)
        assert not book.forget_dead()
        assert book.in_flight("key:a") == 3
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    with book.locked():
        assert not book.forget_dead(), "it has just looked"
        clock.now += LOOK_AT_OTHERS_S
        assert book.forget_dead()
        assert book.in_flight("key:a") == 1, "its own stays"
    book.close()


def test_who_lives_has_its_column_whatever_its_number_is(tmp_path: Path) -> None:
    """In two containers both may have the number 1; and a dead one's number is given out again."""
    clock = Clock()
    book = AccountBook(tmp_path, clock)
    other = AccountBook(tmp_path)
    with other.locked():
        other.write("key:a", other.read("key:a"), 2)
    with book.locked():
        assert not book.forget_dead()
        assert book.in_flight("key:a") == 2
    other.close()
    clock.now += LOOK_AT_OTHERS_S
    with book.locked():
        assert book.forget_dead()
        assert book.in_flight("key:a") == 0
    book.close()


def test_accounts_whose_places_collide_stay_apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(account_book, "MOST_ACCOUNTS", 3)
    book = AccountBook(tmp_path)
    with book.locked():
        for number, name in enumerate(("a", "b", "c")):
            book.write(name, (float(number), *NEW[1:]), 1)
        assert [book.read(name)[0] for name in ("a", "b", "c")] == [0.0, 1.0, 2.0]
        with pytest.raises(ConfigError, match="more than 3"):
            book.read("d")
    book.close()


def test_a_row_that_says_nothing_any_more_is_given_to_another(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(account_book, "MOST_ACCOUNTS", 3)
    november, december = 1_795_000_000.0, 1_797_000_000.0
    clock = Clock()
    clock.now = november
    book, other = AccountBook(tmp_path, now=clock), AccountBook(tmp_path, now=clock)
    used = (1.0, november, 2.0, november, 20_000.0, 3.0, float(month_of(november)), 4.0)
    with book.locked():
        for name in ("a", "b", "c"):
            book.read(name)
            book.write(name, used, 1 if name == "b" else 0)
    with other.locked():
        assert [other.read(name) for name in ("a", "b", "c")] == [used, used, used]
        with pytest.raises(ConfigError, match="more than 3"):
            other.read("d")
    clock.now = december
    with book.locked():
        assert book.read("d") == NEW, "in the place of a or of c; b has one in flight"
        book.write("d", (9.0, december, *NEW[2:6], float(month_of(december)), 9.0))
        assert book.read("b") == used
    with other.locked():
        assert other.read("d")[0] == 9.0
        assert other.in_flight("b") == 1
        gone = {name: other.read(name) for name in ("a", "c")}
        assert sorted(gone.values()) == [NEW, NEW], "the one had no place any more, and takes the other's"
        other.write("c", (7.0, december, *NEW[2:6], float(month_of(december)), 7.0))
        with pytest.raises(ConfigError, match="more than 3"):
            other.read("a")
    with book.locked():
        assert (book.read("c")[0], book.read("d")[0]) == (7.0, 9.0)
    book.close()
    other.close()


@pytest.mark.parametrize("content", [b"", b"short", b"\xff" * 100_000])
def test_a_file_of_another_form_is_begun_anew(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE).write_bytes(content)
    book = AccountBook(tmp_path)
    with book.locked():
        assert book.read("key:a") == NEW
    book.close()
    assert (tmp_path / FILE).read_bytes()[: len(MAGIC)] == MAGIC


def test_all_of_it_is_on_the_disk_before_it_is_mapped(tmp_path: Path) -> None:
    """A page that finds no room on a full disk would end the process."""
    (tmp_path / account_book.FILE).write_bytes(account_book.MAGIC)
    os.truncate(tmp_path / account_book.FILE, account_book.FILE_BYTES)  # as it was made before, with holes
    AccountBook(tmp_path).close()
    assert (tmp_path / account_book.FILE).stat().st_blocks * 512 >= account_book.FILE_BYTES


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="limits are counted there"):
        AccountBook(tmp_path / "missing")


def test_more_processes_than_places_are_refused(tmp_path: Path) -> None:
    books = [AccountBook(tmp_path) for _ in range(account_book.MOST_PROCESSES)]
    with pytest.raises(ConfigError, match="64 workers"):
        AccountBook(tmp_path)
    for book in books:
        book.close()


def test_what_cannot_be_opened_leaves_no_descriptor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a full disk each request that limits bound tries anew."""

    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def tried(times: int) -> int:
        for _ in range(times):
            with pytest.raises(ConfigError):
                AccountBook(tmp_path)
        gc.collect()
        return len(os.listdir("/proc/self/fd"))

    monkeypatch.setattr(account_book, "MOST_PROCESSES", 1)
    book = AccountBook(tmp_path)
    assert tried(5) == tried(0), "as many processes as columns"
    book.close()
    monkeypatch.setattr(os, "posix_fallocate", full)
    before = tried(0)
    assert tried(5) <= before
