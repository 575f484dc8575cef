"""What keeps a task's fallback from answering, found before a start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from launch.planning import fallback_findings as module
from launch.planning.fallback_findings import fallback_findings
from tests.support.stack import config_of


def found(folder: Path, env: dict[str, str] | None = None, **changes: Any) -> list[str]:
    fallback = {"model": "openai/gpt-4o-mini", "when": ["failed"], **changes}
    config = config_of(folder, fallback=fallback)
    return [f"{one.level} {one.key}: {one.text}" for one in fallback_findings(config, env or {})]


def test_sound_fallback_and_one_that_never_answers_have_no_finding(tmp_path: Path) -> None:
    assert found(tmp_path) == []
    assert found(tmp_path, when=[], model="nosuch/model") == []


def test_key_that_is_not_set_is_named_and_not_shown(tmp_path: Path) -> None:
    (missing,) = found(tmp_path, api_key_env="THE_KEY")
    assert missing.startswith("error tasks.naming.fallback.api_key_env: set THE_KEY")
    assert found(tmp_path, {"THE_KEY": "secret"}, api_key_env="THE_KEY") == []


def test_provider_that_nobody_knows_is_named(tmp_path: Path) -> None:
    (unknown,) = found(tmp_path, model="nosuch/model")
    assert unknown == "error tasks.naming.fallback.model: nosuch/model: LiteLLM knows no provider 'nosuch'"


def test_library_that_is_not_there_is_an_error_with_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> object:
        raise ImportError("litellm")

    monkeypatch.setattr(module, "import_library", missing)
    (error,) = found(tmp_path)
    assert "pip install 'lora-gateway[fallback]'" in error
