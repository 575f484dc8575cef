"""Counting in a program of its own: only transformers' classes, and once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateway.config.document import Config
from launch.planning.inputs import Asked
from launch.planning.planner import plan_of
from tests.unit.launch.base.shape.conftest import MIXTURE
from tests.unit.launch.base.shape.test_counting import CARD


def test_code_that_comes_with_a_base_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORA_GATEWAY_CACHE", str(tmp_path / "cache"))  # an earlier run's answer asks nobody
    folder = tmp_path / "base"
    folder.mkdir()
    config = {**MIXTURE, "auto_map": {"AutoConfig": "code.Config", "AutoModelForCausalLM": "code.Model"}}
    (folder / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Config: pass\n")
    (folder / "config.json").write_text(json.dumps(config))
    plan_of(Config.model_validate({"base": {"model": str(folder)}}), CARD, Asked())
    assert not (tmp_path / "ran").exists()
