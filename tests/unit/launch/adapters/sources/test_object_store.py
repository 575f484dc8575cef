"""Adapters in stores of fsspec's, with one in memory: places, digests, bounds, and what is said of faults."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import fsspec  # type: ignore[import-untyped]  # it ships no types
import pytest

from launch.adapters.sources.object_store import check_place, fetch_file, fetch_folder
from launch.machine.files import CONFIG, WEIGHTS, Unfit

WEIGHT_BYTES = b"weights"


@pytest.fixture
def store() -> Iterator[fsspec.AbstractFileSystem]:
    found = fsspec.filesystem("memory", skip_instance_cache=True)
    found.store.clear()
    found.pipe({f"/bucket/naming/{CONFIG}": b"{}", f"/bucket/naming/{WEIGHTS}": WEIGHT_BYTES})
    yield found
    found.store.clear()


def fetched(
    into: Path, place: str = "bucket/naming", *, vouched: bool = False, most: int = 1000
) -> tuple[str, ...]:
    return fetch_folder("memory", place, into, most, lambda stage: None, vouched=False)


@pytest.mark.parametrize("place", ["key:secret@bucket/x", "", "a//b", "a/../b", "a?b", "a::b"])
def test_place_that_is_none_is_refused(place: str) -> None:
    with pytest.raises(Unfit):
        check_place(place)
    assert check_place("bucket/a/") == "bucket/a"


def test_folder_is_fetched_and_warned_of_where_nothing_vouches(tmp_path: Path, store: object) -> None:
    (warning,) = fetched(tmp_path)
    assert "add #sha256=<digest>" in warning
    assert (tmp_path / WEIGHTS).read_bytes() == WEIGHT_BYTES


def test_digest_beside_a_file_is_held(tmp_path: Path, store: fsspec.AbstractFileSystem) -> None:
    (tmp_path / "a").mkdir()
    store.pipe(f"/bucket/naming/{WEIGHTS}.sha256", hashlib.sha256(WEIGHT_BYTES).hexdigest().encode())
    assert fetched(tmp_path / "a") == ()
    for number, (text, said) in enumerate([(b"0" * 64, "another file"), (b"none", "write 64 hex digits")]):
        store.pipe(f"/bucket/naming/{WEIGHTS}.sha256", text)
        (tmp_path / str(number)).mkdir()
        with pytest.raises(Unfit, match=said):
            fetched(tmp_path / str(number))


def test_too_large_is_refused_before_anything_is_fetched(tmp_path: Path, store: object) -> None:
    with pytest.raises(Unfit, match=r"over adapters\.max_bytes 8"):
        fetched(tmp_path, most=8)
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_instead_is_named(tmp_path: Path, store: fsspec.AbstractFileSystem) -> None:
    store.rm(f"/bucket/naming/{WEIGHTS}")
    with pytest.raises(Unfit, match=f"has no {WEIGHTS} there"):
        fetched(tmp_path)
    store.pipe("/bucket/naming/adapter_model.bin", b"x")
    with pytest.raises(Unfit, match="a pickle that could run code"):
        fetched(tmp_path)
    with pytest.raises(Unfit, match=f"has no {CONFIG} there"):
        fetched(tmp_path, "bucket/nowhere")


def test_archive_is_fetched_whole(tmp_path: Path, store: fsspec.AbstractFileSystem) -> None:
    store.pipe("/bucket/a.tar", b"archive")
    found = fetch_file("memory", "bucket/a.tar", tmp_path / "a", 1000, lambda stage: None, vouched=True)
    assert (found, (tmp_path / "a").read_bytes()) == ((), b"archive")
    with pytest.raises(Unfit, match="is not there"):
        fetch_file("memory", "bucket/b.tar", tmp_path / "b", 1000, lambda stage: None, vouched=True)
    with pytest.raises(Unfit, match="fsspec does not know, nosuch"):
        fetch_file("nosuch", "bucket/b.tar", tmp_path / "b", 1000, lambda stage: None, vouched=True)
