"""`train --start`: what it goes on with, and what it refuses before anything is loaded."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from gateway.errors import ConfigError
from launch.training.start import other_system
from launch.training.trainer import Training, prepare, train


def saved(base: Path, folder: Path, **settings: object) -> Path:
    """An adapter of another training, as peft writes it."""
    config = LoraConfig(**{"r": 4, "lora_alpha": 4, "target_modules": ["q_proj"], **settings})
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.fill_(0.02)
    model.save_pretrained(str(folder))
    return folder


def going_on(base: Path, data: Path, start: Path) -> Training:
    return Training("colour", start.with_name("out"), str(base), data, steps=1, batch=8, start=start)


@pytest.mark.parametrize(
    "settings",
    [
        {"lora_alpha": 3},
        {"use_rslora": True},
        {"rank_pattern": {"layers.0.self_attn.q_proj": 2}},
        {"layers_to_transform": [1]},
    ],
)
def test_it_goes_on_with_the_adapters_own_rank_scale_and_layers(
    base: Path, data: Path, tmp_path: Path, settings: dict[str, object]
) -> None:
    asked = going_on(base, data, saved(base, tmp_path / "start", **settings))
    train(replace(asked, peak_rate=0.0))
    before, after = (
        json.loads((tmp_path / name / "adapter_config.json").read_bytes()) for name in ("start", "out")
    )
    same = ("r", "lora_alpha", "use_rslora", "rank_pattern", "layers_to_transform", "target_modules")
    assert [before[key] for key in same] == [after[key] for key in same]
    assert json.loads((tmp_path / "out" / "training.json").read_bytes())["rank"] == 4


def test_what_it_cannot_go_on_from_is_said_as_it_is(base: Path, data: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--start: .*dora/adapter_config.json: is a DoRA adapter"):
        prepare(going_on(base, data, saved(base, tmp_path / "dora", use_dora=True)))
    with pytest.raises(ConfigError, match=r"--start: .*none: "):
        prepare(going_on(base, data, tmp_path / "none"))
    asked = going_on(base, data, saved(base, tmp_path / "start", layers_to_transform=[1]))
    prepare(replace(asked, rank=4, last_layers=1))
    with pytest.raises(ConfigError, match=r"--rank: 8: .*start has rank 4; leave --rank out"):
        prepare(replace(asked, rank=8))
    with pytest.raises(ConfigError, match=r"--last-layers: 2: .*start adapts 1; leave"):
        prepare(replace(asked, last_layers=2))


def test_another_system_prompt_than_it_was_trained_with_is_said(tmp_path: Path) -> None:
    record = tmp_path / "training.json"
    assert other_system(tmp_path, "s") == ""
    for before, now, said in (
        ("s", "s", ""),
        (None, None, ""),
        ("s", None, f"{tmp_path} was trained with the system prompt 's'; it goes on without one"),
        (None, "s", f"{tmp_path} was trained with no system prompt; it goes on with 's'"),
    ):
        record.write_text(json.dumps({"system": before}), encoding="utf-8")
        assert other_system(tmp_path, now) == said
    record.write_text("[", encoding="utf-8")
    assert other_system(tmp_path, "s") == ""
