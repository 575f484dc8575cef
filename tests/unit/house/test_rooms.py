"""Rooms that can be read at a glance: few files in each, and a word on what the room is for."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
MOST_MODULES = 15
MOST_LINES = 400
FOLDERS = sorted(
    {file.parent for package in ("gateway", "launch") for file in ROOT.glob(f"{package}/**/*.py")}
)
TEST_FOLDERS = sorted(
    {file.parent for file in ROOT.glob("tests/**/*.py") if "node_modules" not in file.parts}
)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: str(folder.relative_to(ROOT)))
def test_a_room_has_few_modules_and_says_what_it_is_for(folder: Path) -> None:
    modules = [file.name for file in folder.glob("*.py") if not file.name.startswith("__")]
    assert len(modules) <= MOST_MODULES, f"{len(modules)} modules: which two things are they?"
    said = ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8")))
    assert said, "its __init__.py says nothing"


@pytest.mark.parametrize("folder", TEST_FOLDERS, ids=lambda folder: str(folder.relative_to(ROOT)))
def test_a_folder_of_tests_has_few_files(folder: Path) -> None:
    files = [file.name for file in folder.glob("*.py") if not file.name.startswith("__")]
    assert len(files) <= MOST_MODULES, f"{len(files)} files: join those of one module, or give them a folder"


def test_no_module_is_long() -> None:
    modules = [file for folder in FOLDERS for file in folder.glob("*.py")]
    lines = {str(file.relative_to(ROOT)): file.read_bytes().count(b"\n") for file in modules}
    long = {file: count for file, count in lines.items() if count > MOST_LINES}
    assert len(lines) > 100
    assert not long, "which two things are they?"
