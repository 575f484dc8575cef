"""How the tests are run: with bytecode, and with their folders in memory."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.folders.memory_folder import keep_folders_in_memory

ROOT = Path(__file__).parents[3]
WANTED = "PYTEST_DEBUG_TEMPROOT"


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_what_make_starts_keeps_bytecode() -> None:
    shown = "shown: ; @echo $${PYTHONDONTWRITEBYTECODE-unset}"
    command = ["make", "--silent", "PYTHON=python3", "-f", "Makefile", "--eval", shown, "shown"]
    outer = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")  # of the make that runs the tests
    env = {name: value for name, value in os.environ.items() if name not in outer}
    env["PYTHONDONTWRITEBYTECODE"] = "1"
    said = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "unset"


def test_folders_are_in_memory_where_there_is_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(WANTED, raising=False)
    keep_folders_in_memory(tmp_path / "nowhere")
    assert WANTED not in os.environ
    monkeypatch.setattr("tests.support.folders.memory_folder.ROOM_BYTES", 2**80)
    keep_folders_in_memory(tmp_path)
    assert WANTED not in os.environ
    monkeypatch.setattr("tests.support.folders.memory_folder.ROOM_BYTES", 1)
    keep_folders_in_memory(tmp_path)
    assert os.environ[WANTED] == str(tmp_path)
    monkeypatch.setenv(WANTED, "/chosen")
    keep_folders_in_memory(tmp_path)
    assert os.environ[WANTED] == "/chosen"
