"""The README's commands, links and files exist."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from launch.setup.rooms import ROOMS

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("target", sorted(set(re.findall(r"(?:^ {4}|`)make ([a-z-]+)", TEXT, re.M))))
def test_make_target_exists(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)


def test_the_procfile_starts_the_two_programs() -> None:
    modules = re.findall(r"python -m ([a-z_.]+)", (ROOT / "Procfile").read_text(encoding="utf-8"))
    assert sorted(modules) == ["gateway", "launch"]
    assert all((ROOT / module / "__main__.py").is_file() for module in modules)


def test_a_configuration_may_lie_in_a_folder_with_spaces() -> None:
    programs = (ROOT / "Procfile").read_text(encoding="utf-8")
    assert programs.count('"${CONFIG:-') == programs.count("CONFIG") == 2
    assert 'up --config "$(CONFIG)"' in (ROOT / "Makefile").read_text(encoding="utf-8")


@pytest.mark.parametrize("command", sorted(set(re.findall(r"lora-gateway ([a-z]+)", TEXT))))
def test_command_exists(command: str) -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
    assert "lora-gateway" in scripts
    source = (ROOT / "launch/cli/main.py").read_text(encoding="utf-8")
    assert re.search(rf"def {command}\b|[\"']{command}[\"']", source)


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#:]+)\)", TEXT))))
def test_linked_file_exists(link: str) -> None:
    assert (ROOT / link).exists()


def test_the_tree_has_every_room_that_is_a_folder() -> None:
    tree = TEXT.split("## The tree")[1].split("\n## ")[0]
    for room in ROOMS:
        if (ROOT / room.replace(".", "/")).is_dir():
            assert f" {room.rpartition('.')[2]}/" in tree, room


def test_python_examples_compile() -> None:
    blocks = re.findall(r"```python\n(.*?)```", TEXT, re.S)
    assert blocks
    for block in blocks:
        compile(block, "README.md", "exec")
