"""How the tests are run: with bytecode."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_what_make_starts_keeps_bytecode() -> None:
    shown = "shown: ; @echo $${PYTHONDONTWRITEBYTECODE-unset}"
    command = ["make", "--silent", "PYTHON=python3", "-f", "Makefile", "--eval", shown, "shown"]
    outer = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")  # of the make that runs the tests
    env = {name: value for name, value in os.environ.items() if name not in outer}
    env["PYTHONDONTWRITEBYTECODE"] = "1"
    said = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "unset"
