"""LiteLLM is imported only where a task has a fallback."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gateway.relay.fallback import litellm_loader

ROOT = Path(__file__).parents[5]


def test_litellm_is_imported_only_where_a_task_has_a_fallback() -> None:
    program = (
        "import sys, gateway.app, gateway.__main__\n"
        "from gateway.config.document import load_config\n"
        "gateway.app.Gateway(load_config(__import__('pathlib').Path('configs/demo/config.yaml')))\n"
        "assert 'litellm' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


def test_one_thread_at_a_time_imports_it(monkeypatch: pytest.MonkeyPatch) -> None:
    inside: list[bool] = []

    def imported(name: str) -> object:
        inside.append(litellm_loader.IMPORTING.locked())
        return object()

    monkeypatch.setattr("importlib.import_module", imported)
    litellm_loader.import_library()
    assert inside == [True]
    assert not litellm_loader.IMPORTING.locked()
