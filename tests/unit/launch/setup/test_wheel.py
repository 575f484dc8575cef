"""The wheel of this version, in an environment where there is no checkout."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from tests.fakes.plant import free_port
from tests.support.adapter_folders import LAYOUT, adapter, weights

ROOT = Path(__file__).parents[4]
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "gateway", "launch", "configs")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy: what a build leaves behind stays out of the checkout."""
    folder = tmp_path_factory.mktemp("sources")
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    options = ["--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "wheel", *options, "--wheel-dir", "dist", "."]
    subprocess.run(command, cwd=folder, check=True)
    (made,) = (folder / "dist").glob("lora_gateway-*.whl")
    return made


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command, in an environment with the wheel that sees this one's packages, but not the checkout."""
    folder = tmp_path_factory.mktemp("env") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    # Named by its path, such a folder's own .pth files are not read, nor a checkout that they lead to.
    (packages / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip = [sys.executable, "-m", "pip", "--python", str(folder), "install"]
    options = ["--quiet", "--no-deps", "--no-index", "--ignore-installed", "--disable-pip-version-check"]
    subprocess.run([*pip, *options, str(wheel)], check=True)
    return folder / "bin" / "lora-gateway"


def run(command: Path, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """In an environment without a variable of this one's, and in a folder that is no checkout."""
    env = {"PATH": "/usr/bin:/bin", "HOME": str(folder)}
    return subprocess.run([str(command), *arguments], cwd=folder, env=env, capture_output=True, text=True)


def test_it_holds_both_packages_the_demo_and_no_test(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as opened:
        names = opened.namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.startswith("lora_gateway-")} == {"gateway", "launch"}
    for wanted in ("gateway/py.typed", "launch/py.typed", "launch/base/served_classes.json"):
        assert wanted in names
    assert any(name.endswith("share/lora-gateway/demo/config.yaml") for name in names)
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_it_runs_from_where_it_was_installed(installed: Path, tmp_path: Path) -> None:
    shown = run(installed, "--help", folder=tmp_path)
    assert (shown.returncode, shown.stderr) == (0, "")
    for command in ("init", "up", "demo", "check", "adapters"):
        assert command in shown.stdout
    where = "import launch.planning.found_config as f; print(f.__file__); print(f.demo_config())"
    python = run(installed.parent / "python", "-c", where, folder=tmp_path)
    code, demo = python.stdout.splitlines()
    environment = installed.parents[1]
    assert Path(code).is_relative_to(environment), python.stderr
    assert Path(demo).is_relative_to(environment)
    assert Path(demo).is_file()


def test_the_demos_tasks_have_their_data(installed: Path, tmp_path: Path) -> None:
    for asked in ((), ("--task", "concept"), ("--pipeline", "concept-naming")):
        said = run(installed, "evaluate", "--url", "http://127.0.0.1:1/v1", *asked, folder=tmp_path)
        assert (said.returncode, "nothing answers there" in said.stderr) == (2, True), said.stderr
    files = (
        "from launch.training.data.tasks import *; print(*map(Path.is_file, (CLUSTERS, GROUPS, EVERYDAY)))"
    )
    python = run(installed.parent / "python", "-c", files, folder=tmp_path)
    assert python.stdout.split() == ["True"] * 3, python.stderr


def test_a_configuration_is_written_and_accepted(installed: Path, tmp_path: Path) -> None:
    base = tmp_path / "models" / "tiny"
    base.mkdir(parents=True)
    config = {**LAYOUT, "vocab_size": 48, "max_position_embeddings": 512}
    (base / "config.json").write_text(json.dumps(config))
    (base / "model.safetensors").write_bytes(weights({"model.norm.weight": (16,)}))
    adapter(tmp_path / "naming")
    written = run(installed, "init", "--base", str(base), "--adapter", "naming=./naming", folder=tmp_path)
    assert written.returncode == 0, written.stderr
    with (tmp_path / "lora-gateway.yaml").open("a", encoding="utf-8") as config_file:
        config_file.write(f"gateway:\n  port: {free_port()}\n")  # something else may listen on the usual one
    checked = run(installed, "check", folder=tmp_path)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "naming" in checked.stdout
    (tmp_path / "naming" / "adapter_model.safetensors").unlink()
    broken = run(installed, "check", folder=tmp_path)
    assert broken.returncode == 2
    assert "naming" in broken.stderr
