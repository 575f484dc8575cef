"""What several tests here share."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.fakes.tiny_base import build_tiny_base


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """So small a base gains nothing from more, and threads of several workers stand in each other's way."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_base(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_data(tmp_path / "colour.jsonl")


def write_data(path: Path, *more: str) -> Path:
    lines = [
        json.dumps({"prompt": f"colour of thing{number}", "answer": "red" if number % 2 else "green"})
        for number in range(40)
    ]
    path.write_text("\n".join([*lines, *more]) + "\n", encoding="utf-8")
    return path
