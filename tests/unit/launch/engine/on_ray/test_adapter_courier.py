"""An adapter on its way to a node that does not see its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from gateway.errors import EngineFailure
from launch.engine.loaded_adapters import EngineCalls
from launch.engine.on_ray import adapter_courier
from launch.engine.on_ray.adapter_courier import calls_to, folder_there
from launch.engine.on_ray.node_adapters import NodeAdapters
from launch.engine.on_ray.remote_engine import Seat
from tests.unit.launch.engine.on_ray.test_node_adapters import DATA, kept


class Far:
    """A node with a disk of its own, asked without Ray."""

    def __init__(self, folder: Path) -> None:
        self.adapters = NodeAdapters(folder)

    def folder_of(self, path: str) -> str:
        return self.adapters.folder_of(str(Path("/not/there") / Path(path).name))

    def begin_adapter(self, settings: bytes, size_bytes: int) -> None:
        self.adapters.begin(settings, size_bytes)

    def write_adapter(self, data: bytes) -> None:
        self.adapters.write(data)

    def end_adapter(self, adapter_id: str) -> str:
        return self.adapters.end(adapter_id)

    def drop_adapter(self, adapter_id: str) -> None:
        self.adapters.drop(adapter_id)


def far(folder: Path) -> Seat:
    return cast(Seat, Far(folder))


def test_it_is_loaded_from_a_copy_and_the_copy_goes_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapter_courier, "PIECE_BYTES", 64)
    calls: list[tuple[Any, ...]] = []
    own = EngineCalls(
        load=lambda *given: calls.append(given), unload=lambda url, name: calls.append((url, name))
    )
    folder = kept(tmp_path / "here")
    through = calls_to(far(tmp_path / "node"), own)
    through.load("http://n", folder.name, str(folder))
    through.load("http://n", f"{folder.name}-proof-0", str(folder))
    copy = tmp_path / "node" / folder.name
    assert calls == [("http://n", folder.name, copy), ("http://n", f"{folder.name}-proof-0", copy)]
    through.unload("http://n", f"{folder.name}-proof-0")
    assert copy.exists()
    through.unload("http://n", folder.name)
    assert not copy.exists()


def test_what_the_path_there_cannot_tell_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[dict[str, bool]] = []
    own = EngineCalls(load=lambda *_, **more: told.append(more), unload=lambda *_: None)
    folder, through = kept(tmp_path / "here"), calls_to(far(tmp_path / "node"), own)
    through.load("http://n", folder.name, str(folder))
    monkeypatch.setattr(adapter_courier, "holds_fused", lambda _: True)
    through.load("http://n", folder.name, str(folder))
    assert told == [{}, {"fused": True}]


def test_it_goes_in_pieces_and_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter_courier, "PIECE_BYTES", 300)
    folder, told = kept(tmp_path / "here"), list[int]()
    seat = far(tmp_path / "node")
    assert folder_there(seat, folder, told.append) == folder_there(seat, folder, told.append)
    assert told == [300, 300, len(DATA) - 600]


def test_a_folder_that_is_gone_or_was_changed_is_not_loaded(tmp_path: Path) -> None:
    folder = kept(tmp_path / "here")
    (folder / "adapter_model.safetensors").write_bytes(b"others")
    with pytest.raises(EngineFailure, match="is not what its id names"):
        folder_there(far(tmp_path / "node"), folder)
    with pytest.raises(EngineFailure, match="cannot be read"):
        folder_there(far(tmp_path / "node"), tmp_path / "none@0")
