"""Where contents stand: for their owner alone, copied whole, and swept of what a kill left."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from pathlib import Path

import pytest

from gateway.batches.folder import STRAY_AFTER_S, Folder, Unreadable
from tests.support.batches.batch_stack import read_in_part

OLD_S = STRAY_AFTER_S + 1


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    made = Folder(tmp_path)
    made.make()
    return made


def test_folders_and_uploads_are_readable_by_their_owner_alone(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "shared")
    folder.make()
    path, handle = folder.begin_upload()
    os.close(handle)
    for one in (folder.root.parent, folder.root, path.parent, folder.content("x").parent):
        assert one.stat().st_mode & 0o777 == 0o700
    assert path.stat().st_mode & 0o777 == 0o600


def test_upload_comes_into_its_place(folder: Folder) -> None:
    path, handle = folder.begin_upload()
    os.write(handle, b"content")
    os.close(handle)
    folder.keep_upload(path, "file-1")
    assert folder.content("file-1").read_bytes() == b"content"
    assert not path.exists()
    folder.remove("file-1")
    folder.remove("file-1")  # it may be gone already
    assert not folder.content("file-1").exists()


def test_sweep_takes_old_strays_alone(folder: Folder) -> None:
    now = 1e9
    for name, age_s in (("known", OLD_S), ("stray", OLD_S), ("young", 1.0)):
        folder.content(name).touch()
        os.utime(folder.content(name), (now - age_s, now - age_s))
    upload, handle = folder.begin_upload()
    os.close(handle)
    os.utime(upload, (now - OLD_S, now - OLD_S))
    assert sorted(folder.sweep({"known"}, now)) == sorted(["stray", upload.name])
    assert folder.content("known").exists()
    assert folder.content("young").exists()


def test_sweep_passes_over_what_it_cannot_remove(folder: Folder) -> None:
    folder.content("lost+found").mkdir()
    folder.content("stray").touch()
    assert folder.sweep(set(), time.time() + OLD_S) == ["stray"]


@pytest.mark.parametrize("full", [False, True])
def test_age_is_by_the_clock_of_the_files(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, full: bool
) -> None:
    """That of a file server may be behind: what comes in just then would look old, and be removed."""
    folder.content("on-its-way").touch()
    now = time.time()
    monkeypatch.setattr("gateway.batches.folder.time.time", lambda: now + OLD_S)
    if full:
        monkeypatch.setattr(folder, "root", folder.root / "none")
        assert folder.now() == now + OLD_S
        return
    assert folder.sweep(set(), folder.now()) == []
    assert [one.name for one in folder.root.rglob("*") if one.is_file()] == ["on-its-way"]


def test_a_copy_is_whole_and_of_nothing_there_is_none(folder: Folder) -> None:
    folder.content("one").write_bytes(b"x" * 3_000_000)
    assert folder.copy("one", "other") is None
    assert folder.content("other").read_bytes() == folder.content("one").read_bytes()
    assert folder.content("other").stat().st_mode & 0o777 == 0o600
    assert folder.copy("nothing", "none") is None
    assert not folder.content("none").exists()


def test_a_copy_of_what_cannot_be_read_to_its_end_ends_there(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.content("one").write_bytes(b"x" * 10)
    read_in_part(monkeypatch, "one", 4, [True, True])
    unreadable = folder.copy("one", "other")
    assert unreadable is not None
    assert (unreadable.errno, unreadable.filename) == (errno.EIO, str(folder.content("one")))
    assert folder.content("other").read_bytes() == b"xxxx"
    folder.content("two").mkdir()
    assert isinstance(folder.copy("two", "three"), Unreadable)
    assert not folder.content("three").exists()


def test_content_or_copy_that_has_no_room_leaves_nothing(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    folder.add("one", bytearray(b"x"))
    assert folder.content("one").read_bytes() == b"x"
    assert folder.content("one").stat().st_mode & 0o777 == 0o600
    monkeypatch.setattr("gateway.batches.folder.os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        folder.copy("one", "other")
    with pytest.raises(OSError, match="No space"):
        folder.add("other", b"x")
    assert not folder.content("other").exists()


def test_a_gateway_of_the_first_release_and_later_ones_never_run_them_together(folder: Folder) -> None:
    with folder.older_kept_out() as alone:
        assert alone
    handle = os.open(folder.root / "runner.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(handle, fcntl.LOCK_EX)  # as 0.1.0 does
    with folder.older_kept_out() as alone:
        assert not alone
    fcntl.flock(handle, fcntl.LOCK_UN)
    with folder.older_kept_out() as one, folder.older_kept_out() as another:
        assert (one, another) == (True, True), "later ones do not keep each other out"
        with pytest.raises(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(handle)
