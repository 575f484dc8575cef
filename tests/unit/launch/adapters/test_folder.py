"""An adapter's folder: where it really lies, and what lies there in an adapter's place."""

from __future__ import annotations

from pathlib import Path

import pytest

from launch.adapters.folder import real_folder, require_files
from launch.machine.files import CONFIG, WEIGHTS, Origin, Unfit
from tests.support.adapter_folders import adapter

ANYWHERE = Origin("x")


def test_link_leads_to_where_the_folder_lies(tmp_path: Path) -> None:
    folder = adapter(tmp_path / "real")
    (tmp_path / "link").symlink_to(folder)
    assert real_folder(tmp_path / "link", ANYWHERE) == folder
    require_files(folder)


def test_folder_outside_the_roots_is_refused_by_where_it_really_lies(tmp_path: Path) -> None:
    (tmp_path / "allowed").mkdir()
    (tmp_path / "allowed" / "link").symlink_to(adapter(tmp_path / "real"))
    with pytest.raises(Unfit, match=r"outside adapters\.roots"):
        real_folder(tmp_path / "allowed" / "link", Origin("x", roots=(tmp_path / "allowed",)))
    assert real_folder(tmp_path / "real", Origin("x", roots=(tmp_path,)))


def test_what_is_no_folder_says_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Unfit, match=r"is a file, not a folder.*unpack an archive"):
        real_folder(tmp_path / "file", ANYWHERE)
    with pytest.raises(Unfit, match="no such folder"):
        real_folder(tmp_path / "nowhere", ANYWHERE)
    with pytest.raises(Unfit, match="is no path"):
        real_folder(Path("\0"), ANYWHERE)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (["adapters.safetensors"], "MLX's format"),
        (["0000100_adapters.safetensors", "adapter_config.json"], "MLX's format"),
        (["config.json"], "a whole model, not an adapter"),
        (["checkpoint-9/" + CONFIG], "name its subfolder that is an adapter: checkpoint-9"),
        ([], "is it a peft adapter"),
        ([CONFIG, "adapter_model.bin"], "adapter_model.bin, a pickle that could run code"),
        ([CONFIG, f"{WEIGHTS}.index.json"], "in pieces"),
        ([CONFIG], f"has no {WEIGHTS}"),
    ],
)
def test_what_lies_there_instead_is_named_with_the_mend(tmp_path: Path, files: list[str], said: str) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(Unfit, match=said):
        require_files(tmp_path)


def test_of_many_adapters_below_three_are_named(tmp_path: Path) -> None:
    for number in range(5):
        adapter(tmp_path / f"checkpoint-{number}")
    with pytest.raises(Unfit, match="checkpoint-0, checkpoint-1, checkpoint-2, …"):
        require_files(tmp_path)
