"""Checked adapters' own copies: whole, of the content that their id names, and nobody else's to change."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import pytest

from gateway.errors import ConfigError
from launch.adapters import check
from launch.adapters.store import AdapterStore
from launch.machine.files import Origin, open_regular
from tests.support.adapter_folders import BASE, GOOD, adapter, weights

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


def test_a_bias_of_null_is_none_in_the_copy(tmp_path: Path) -> None:
    source, store = adapter(tmp_path / "one", GOOD, {"bias": None}), AdapterStore(tmp_path / "kept")
    taken = store.take("naming", source, BASE)
    given, kept = (
        json.loads((folder / "adapter_config.json").read_bytes()) for folder in (source, taken.path)
    )
    assert kept == {**given, "bias": "none"}
    assert given["bias"] is None
    assert store.verify(taken.id)
    assert store.take("naming", source, BASE).id == taken.id


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


def test_new_adapter_is_read_once_and_a_kept_one_beside_its_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, store = adapter(tmp_path / "one"), AdapterStore(tmp_path / "kept")
    opened: list[Path] = []

    def watched(path: Path, roots: Sequence[Path] | None = None) -> BinaryIO:
        opened.append(path)
        return open_regular(path, roots)

    monkeypatch.setattr(check, "open_regular", watched)
    monkeypatch.setattr(store, "verify", lambda _: pytest.fail("there is no copy to look at"))
    monkeypatch.setattr(store, "path_of", lambda adapter_id: tmp_path / "kept" / adapter_id)
    with pytest.raises(pytest.fail.Exception):
        store.take("naming", source, BASE)
    assert [path.name for path in opened] == ["adapter_config.json", WEIGHTS]


def test_copy_that_is_expected_by_now_is_not_removed(tmp_path: Path) -> None:
    source, store = adapter(tmp_path / "one"), AdapterStore(tmp_path / "kept")
    first = store.take("naming", source, BASE)
    expected: set[str] = set()

    def expect(adapter_id: str) -> None:
        expected.add(adapter_id)
        store.remove(adapter_id, expected)  # what was decided a second earlier

    assert store.take("naming", source, BASE, expect=expect).id == first.id
    assert store.verify(first.id)
    store.remove(first.id)
    assert not store.verify(first.id)


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
