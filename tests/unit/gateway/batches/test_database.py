"""What is known of files and batches: whose they are, what needs what, and what a change may not undo."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.batches import database
from gateway.batches.database import NoRoom, Store
from gateway.batches.records import BatchRecord, Counts, FileRecord

NOW = 1000
FILE = FileRecord("file-1", "a", "batch", "in.jsonl", 10, NOW, NOW + 100)
BATCH = BatchRecord(
    "batch_1", "a", "/v1/chat/completions", "file-1", "file-out", "file-err", "validating", NOW, NOW + 9, 60
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(Store(tmp_path)) as made:
        yield made


def test_file_is_its_owners_and_for_its_time(store: Store) -> None:
    store.add_file(FILE, 100)
    assert store.file("file-1", "a", NOW) == FILE
    assert store.file("file-1", "b", NOW) is None
    assert store.file("file-1", "a", FILE.expires_at) is None


def test_all_files_together_are_bounded(store: Store) -> None:
    store.add_file(FILE, 15)
    with pytest.raises(NoRoom) as refused:
        store.add_file(replace(FILE, id="file-2"), 15)
    assert refused.value.kept_bytes == 10
    assert store.kept_bytes() == 10


def test_lists_go_on_after_an_id_in_both_orders(store: Store) -> None:
    for number in range(1, 5):
        store.add_file(replace(FILE, id=f"file-{number}", purpose="batch" if number % 2 else "other"), 100)

    def ids(**how: object) -> list[str] | None:
        found = store.files("a", NOW, **how)  # type: ignore[arg-type]
        return None if found is None else [one.id for one in found]

    assert ids() == ["file-4", "file-3", "file-2", "file-1"]
    assert ids(after="file-3", newest_first=False) == ["file-4"]
    assert ids(after="file-3", limit=1) == ["file-2", "file-1"]  # one more than asked: there is more
    assert ids(purpose="batch") == ["file-3", "file-1"]
    assert ids(after="file-9") is None


def test_input_of_an_unfinished_batch_stays(store: Store) -> None:
    store.add_file(FILE, 100)
    assert store.add_batch(BATCH, 1)
    assert store.delete_file("file-1", "a") == "batch_1"
    assert store.forget_expired(FILE.expires_at) == []
    assert store.known_contents() == {"file-1", "file-out", "file-err"}
    store.end(BATCH, "completed", NOW + 5, Counts(1), [replace(FILE, id="file-out")])
    assert store.delete_file("file-1", "b") == ""
    assert store.delete_file("file-1", "a") is None
    assert store.known_contents() == {"file-out"}
    ended = store.batch("batch_1", "a")
    assert ended is not None
    assert (ended.status, ended.completed_at, ended.has_output, ended.has_errors) == (
        "completed",
        NOW + 5,
        1,
        0,
    )


def test_unfinished_batches_of_a_key_are_bounded(store: Store) -> None:
    assert store.add_batch(BATCH, 1)
    assert not store.add_batch(replace(BATCH, id="batch_2"), 1)
    assert store.add_batch(replace(BATCH, id="batch_3", owner="b"), 1)
    assert [one.id for one in store.open_batches()] == ["batch_1", "batch_3"]


def test_batch_moves_only_from_where_it_was_expected(store: Store) -> None:
    store.add_batch(BATCH, 1)
    assert store.move("batch_1", ("validating",), "in_progress", NOW + 1, total=7)
    assert not store.move("batch_1", ("validating",), "in_progress", NOW + 2)
    assert store.cancel("batch_1", NOW + 3)
    assert not store.cancel("batch_1", NOW + 4)
    found = store.batch("batch_1")
    assert found is not None
    assert (found.status, found.total, found.in_progress_at, found.cancelling_at) == (
        "cancelling",
        7,
        NOW + 1,
        NOW + 3,
    )


def test_new_batches_are_taken_once_and_counted_by_their_runner_alone(store: Store) -> None:
    store.add_batch(replace(BATCH, id="batch_2", runner="one"), 9)
    store.add_batch(BATCH, 9)
    store.take_new("two")
    store.take_new("three")
    assert [one.runner for one in store.open_batches()] == ["one", "two"]
    counts = Counts(1, 2, 3, 4)
    store.count("two", {"batch_1": counts, "batch_2": counts})
    assert [one.counts for one in store.open_batches()] == [Counts(), counts]


def test_old_batches_are_forgotten_and_open_ones_never(store: Store) -> None:
    store.add_batch(BATCH, 9)
    store.add_batch(ended := replace(BATCH, id="batch_2"), 9)
    store.end(ended, "expired", NOW, Counts(), [])
    store.forget_batches(NOW + 1)
    assert [one.id for one in store.batches("a", after=None, limit=9) or ()] == ["batch_1"]
    assert store.batches("a", after="batch_2", limit=9) is None


def test_small_files_are_bounded_by_their_number(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of a byte takes a block of the disk, so that bytes alone would let a key fill it."""
    monkeypatch.setattr(database, "MOST_FILES", 2)
    for number in range(2):
        store.add_file(replace(FILE, id=f"file-{number}", size_bytes=1), 100)
    with pytest.raises(NoRoom) as refused:
        store.add_file(replace(FILE, id="file-3", size_bytes=1), 100)
    assert refused.value.too_many == 2
    store.add_file(replace(FILE, id="file-4", owner="b"), 100)
    store.delete_file("file-0", "a")
    store.add_file(replace(FILE, id="file-5", size_bytes=1), 100)


def test_of_a_keys_batches_that_ended_the_oldest_give_way(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each holds what was wrong with its lines, and one that is wrong ends in a moment."""
    monkeypatch.setattr(database, "MOST_ENDED", 2)
    store.add_batch(BATCH, 9)
    for number in range(2, 7):
        batch = replace(BATCH, id=f"batch_{number}", owner="b" if number == 2 else "a")
        store.add_batch(batch, 9)
        store.end(batch, "failed", NOW, Counts(), [])
    store.add_batch(replace(BATCH, id="batch_7"), 9)
    kept = [one.id for one in store.batches("a", after=None, limit=9) or ()]
    assert kept == ["batch_7", "batch_6", "batch_5", "batch_1"], "an unfinished one stays"
    assert store.batch("batch_2", "b") is not None
