"""Which configuration is meant where none is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config.document import load_config
from launch.planning import found_config
from launch.planning.found_config import CHECKOUT, OWN, default_config, demo_config
from tests.fakes.plant import ROOT


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder, where the commands stand."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_own_configuration_comes_before_a_checkouts_demo(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert default_config() == OWN
    CHECKOUT.parent.mkdir(parents=True)
    CHECKOUT.touch()
    assert (default_config(), demo_config()) == (CHECKOUT, CHECKOUT)
    OWN.touch()
    assert (default_config(), demo_config()) == (OWN, CHECKOUT)


def test_installed_demo_is_found_without_a_checkout(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert demo_config() == ROOT / CHECKOUT  # an editable install's own
    here = tmp_path / "env" / "launch" / "planning" / "found_config.py"
    monkeypatch.setattr(found_config, "__file__", str(here))
    monkeypatch.setattr("launch.planning.found_config.sysconfig.get_path", lambda _: str(tmp_path / "env"))
    placed = tmp_path / "env" / found_config.INSTALLED
    placed.parent.mkdir(parents=True)
    placed.touch()
    assert demo_config() == placed


def test_demo_is_packed_with_all_that_its_configuration_names() -> None:
    import tomllib

    packed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["data-files"]
    sources = {file.resolve() for patterns in packed.values() for one in patterns for file in ROOT.glob(one)}
    demo = load_config(ROOT / CHECKOUT, {})
    needed = [
        ROOT / CHECKOUT,
        ROOT / "configs/demo/clusters.jsonl",
        ROOT / "configs/demo/concepts.schema.json",
        ROOT / "configs/demo/groups.jsonl",
        *(ROOT / "configs/demo/heldout").iterdir(),
    ]
    for task in demo.tasks.values():
        needed += [task.adapter / "adapter_config.json", task.adapter / "adapter_model.safetensors"]
    assert {file.resolve() for file in needed} <= sources
    assert sum(file.stat().st_size for file in sources) < 25e6
