"""What a plan is made of: sizes read from headers where they are there, else assumed, and said which."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from gateway.config.document import Config
from gateway.errors import ConfigError
from launch.planning.device_memory import named_card
from launch.planning.inputs import ASSUMED_RANK, Asked, gather, planned_config, read_for_plan
from tests.support.adapter_folders import LAYOUT, adapter

CARD = named_card("48GiB")


def config(folder: Path, *adapters: str, **base: Any) -> Config:
    model = folder / "base"
    model.mkdir(exist_ok=True)
    (model / "config.json").write_text(
        json.dumps({**LAYOUT, "vocab_size": 48, "max_position_embeddings": 512})
    )
    tasks = {name: {"adapter": str(folder / name)} for name in adapters}
    return Config.model_validate({"base": {"model": str(model), **base}, "tasks": tasks})


def test_adapter_that_is_there_is_read_and_one_that_is_not_is_assumed(tmp_path: Path) -> None:
    adapter(tmp_path / "there")
    inputs, findings = gather(config(tmp_path, "there", "missing"), CARD)
    assert findings == []
    there, missing = inputs.adapters
    assert (there.rank, there.known) == (8, "header")
    assert (missing.rank, missing.known) == (ASSUMED_RANK, "allowance")
    assert missing.size_bytes > 0


def test_broken_adapter_is_a_finding_and_is_assumed(tmp_path: Path) -> None:
    folder = adapter(tmp_path / "broken")
    (folder / "adapter_model.safetensors").write_bytes(b"x")
    inputs, (finding,) = gather(config(tmp_path, "broken"), CARD)
    assert (finding.level, inputs.adapters[0].known) == ("error", "allowance")


def test_command_line_says_how_many_and_of_which_rank(tmp_path: Path) -> None:
    adapter(tmp_path / "there")
    inputs, _ = gather(config(tmp_path, "there"), CARD, Asked(adapters=3, rank=32))
    assert [one.rank for one in inputs.adapters] == [32, 32, 32]
    assert inputs.engine.rank == 32
    assert len(gather(config(tmp_path, "there"), CARD, Asked(adapters=0))[0].adapters) == 0
    assert (
        gather(config(tmp_path), CARD, Asked(rank=64))[0].engine.rank == 64
    )  # of one, where there is no task


def test_other_values_are_checked_again(tmp_path: Path) -> None:
    given = config(tmp_path)
    assert planned_config(given, {"max_model_len": None}) is given
    assert planned_config(given, {"max_model_len": 64}).base.max_model_len == 64
    with pytest.raises(ValidationError):
        planned_config(given, {"max_model_len": 0})


def test_configuration_may_name_adapters_that_are_not_there_yet(tmp_path: Path) -> None:
    document = {"base": {"model": "some/model"}, "tasks": {"a": {"adapter": "/nowhere/a"}}}
    (tmp_path / "c.yaml").write_text(json.dumps(document))
    assert list(read_for_plan(tmp_path / "c.yaml").tasks) == ["a"]
    (tmp_path / "c.yaml").write_text(json.dumps({**document, "nonsense": 1}))
    with pytest.raises(ConfigError, match="nonsense"):
        read_for_plan(tmp_path / "c.yaml")
