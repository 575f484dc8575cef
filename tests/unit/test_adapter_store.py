"""Checked adapters' own copies: whole, of the content that their id names, and nobody else's to change."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.errors import ConfigError
from launch import adapter_store
from launch.adapter_files import Origin
from launch.adapter_store import AdapterStore
from launch.adapters import Adapter, check_adapter
from launch.shapes import Base
from tests.unit.adapter_folders import BASE, GOOD, adapter, weights

WEIGHTS = "adapter_model.safetensors"


def test_copy_holds_the_two_files_alone(tmp_path: Path) -> None:
    source, store = adapter(tmp_path / "one"), AdapterStore(tmp_path / "kept")
    (source / "optimizer.pt").write_bytes(b"x")
    taken = store.take("naming", source, BASE)
    assert taken.path == store.path_of(taken.id) == tmp_path / "kept" / taken.id
    assert sorted(file.name for file in taken.path.iterdir()) == ["adapter_config.json", WEIGHTS]
    assert (tmp_path / "kept").stat().st_mode & 0o077 == 0
    (source / WEIGHTS).write_bytes(weights(GOOD, b"\2"))
    assert store.verify(taken.id)
    assert store.take("naming", source, BASE).id != taken.id


def test_second_take_leaves_the_copy_and_a_damaged_one_is_replaced(tmp_path: Path) -> None:
    source, store = adapter(tmp_path / "one"), AdapterStore(tmp_path / "kept")
    taken = store.take("naming", source, BASE)
    made = (taken.path / WEIGHTS).stat().st_ino
    assert (store.take("naming", source, BASE).path / WEIGHTS).stat().st_ino == made
    (taken.path / WEIGHTS).write_bytes(b"damaged")
    assert not store.verify(taken.id)
    store.take("naming", source, BASE)
    assert store.verify(taken.id)


def test_key_and_origin_are_named_in_errors(tmp_path: Path) -> None:
    store = AdapterStore(tmp_path / "kept")
    with pytest.raises(ConfigError, match=r"^tasks\.naming\.adapter: .*none: no such folder"):
        store.take("naming", tmp_path / "none", BASE)
    folder = adapter(tmp_path / "one", GOOD, {"use_dora": True})
    with pytest.raises(
        ConfigError, match=r"^adapters\.naming: hf://org/name/adapter_config\.json: is a DoRA"
    ):
        store.take("naming", folder, BASE, key="adapters.naming", origin=Origin("hf://org/name"))
    assert not (tmp_path / "kept").exists()


def longer(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes(weights(GOOD) + bytes(1 << 20))


def other(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes(weights(GOOD, b"\3"))


def pipe(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    os.mkfifo(folder / WEIGHTS)


def gone(folder: Path) -> None:
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (longer, "changed while it was copied; try again"),
        (other, "changed while it was copied; try again"),
        (pipe, "is a pipe"),
        (gone, "cannot be copied: No such file"),
    ],
)
def test_source_that_changes_between_check_and_copy(
    change: Callable[[Path], None], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, store = adapter(tmp_path / "one"), AdapterStore(tmp_path / "kept")

    def check(
        task: str, source: Path, base: Base, rank_limit: int | None = None, *, key: str, origin: Origin | None
    ) -> Adapter:
        checked = check_adapter(task, source, base, rank_limit, key=key, origin=origin)
        change(source)
        return checked

    monkeypatch.setattr(adapter_store, "check_adapter", check)
    with pytest.raises(ConfigError, match=said):
        store.take("naming", folder, BASE)
    assert list((tmp_path / "kept").iterdir()) == []


def test_full_disk_is_said_before_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1_000_000))
    with pytest.raises(ConfigError, match="has 1 MB free, a copy needs 0 MB and some; make room"):
        AdapterStore(tmp_path / "kept").take("naming", adapter(tmp_path / "one"), BASE)


def test_sweep_and_remove_keep_what_is_wanted(tmp_path: Path) -> None:
    store = AdapterStore(tmp_path / "kept")
    first = store.take("naming", adapter(tmp_path / "one"), BASE)
    second = store.take("concept", tmp_path / "one", BASE)
    assert dataclasses.replace(first, task="", id="", path=Path()) == dataclasses.replace(
        second, task="", id="", path=Path()
    )
    (tmp_path / "kept" / ".incoming-left").mkdir()
    store.sweep([first.id])
    assert [found.name for found in (tmp_path / "kept").iterdir()] == [first.id]
    store.remove("../one")
    store.remove(first.id)
    assert not store.verify(first.id)
    assert (tmp_path / "one").is_dir()
