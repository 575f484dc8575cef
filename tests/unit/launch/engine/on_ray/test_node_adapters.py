"""Adapters on a node: seen where they lie, or copied, and never another content under an id."""

from __future__ import annotations

from pathlib import Path

from launch.adapters.check import adapter_id
from launch.engine.on_ray.node_adapters import NodeAdapters
from launch.machine.files import CONFIG, WEIGHTS

SETTINGS, DATA = b'{"r": 8}', b"weights" * 100


def kept(folder: Path, data: bytes = DATA) -> Path:
    """An adapter as the control plane keeps it: its folder has its id's name."""
    scratch = folder / "scratch"
    scratch.mkdir(parents=True)
    (scratch / CONFIG).write_bytes(SETTINGS)
    (scratch / WEIGHTS).write_bytes(data)
    return scratch.rename(folder / adapter_id("naming", SETTINGS, scratch / WEIGHTS))


def copied(node: NodeAdapters, adapter: str, data: bytes = DATA) -> str:
    node.begin(SETTINGS, len(data))
    node.write(data[:10])
    node.write(data[10:])
    return node.end(adapter)


def test_what_lies_under_the_same_path_is_used_from_there(tmp_path: Path) -> None:
    shared = kept(tmp_path / "shared")
    assert NodeAdapters(tmp_path / "node").folder_of(str(shared)) == str(shared)


def test_another_content_under_the_same_path_is_not_taken_for_it(tmp_path: Path) -> None:
    shared = kept(tmp_path / "shared")
    (shared / WEIGHTS).write_bytes(b"others")
    assert NodeAdapters(tmp_path / "node").folder_of(str(shared)) == ""


def test_a_copy_is_kept_until_it_is_dropped(tmp_path: Path) -> None:
    name = kept(tmp_path / "elsewhere").name
    node = NodeAdapters(tmp_path / "node")
    there = copied(node, name)
    assert (Path(there) / WEIGHTS).read_bytes() == DATA
    assert node.folder_of(f"/not/on/this/node/{name}") == there
    assert NodeAdapters(tmp_path / "node").folder_of(f"/not/here/{name}") == there  # another life finds it
    node.drop(name)
    assert node.folder_of(f"/not/on/this/node/{name}") == ""


def test_a_damaged_copy_is_none(tmp_path: Path) -> None:
    name = kept(tmp_path / "elsewhere").name
    node = NodeAdapters(tmp_path / "node")
    assert copied(node, name, b"x" * len(DATA)) == ""
    assert node.folder_of(f"/x/{name}") == ""


def test_a_copy_that_was_broken_off_is_begun_anew_and_leaves_nothing(tmp_path: Path) -> None:
    name = kept(tmp_path / "elsewhere").name
    node = NodeAdapters(tmp_path / "node")
    node.begin(SETTINGS, 3)
    node.write(b"abc")
    assert copied(node, name)
    assert [one.name for one in (tmp_path / "node").iterdir()] == [name]


def test_copies_that_no_engine_was_asked_for_go_with_the_next_that_is_dropped(tmp_path: Path) -> None:
    """What was unloaded while the engine was down was never dropped here."""
    data = {name: name.encode() * 50 for name in ("lost", "kept", "dropped")}
    names = {name: kept(tmp_path / name, content).name for name, content in data.items()}
    node = NodeAdapters(tmp_path / "node")
    for name, content in data.items():
        copied(node, names[name], content)
        assert node.folder_of(f"/x/{names[name]}")
    node.begin_anew()
    for name in ("kept", "dropped"):
        assert node.folder_of(f"/x/{names[name]}")
    node.begin(SETTINGS, 3)
    node.drop(f"{names['kept']}-proof-0")
    assert len(list((tmp_path / "node").iterdir())) == 4, "a copy is on its way"
    node.write(b"abc")
    node.end("naming@0")
    node.drop(names["dropped"])
    assert [one.name for one in (tmp_path / "node").iterdir()] == [names["kept"]]
    assert node.folder_of(f"/x/{names['kept']}")
