"""When two names are one model's."""

from __future__ import annotations

from pathlib import Path

import pytest

from launch.adapters.check import check_adapter
from launch.base.lora_shapes import describe_base
from launch.base.names import same_model
from tests.support.adapter_folders import GOOD, LAYOUT, adapter


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (r"D:\models\SmolLM2-135M-Instruct", "HuggingFaceTB/SmolLM2-135M-Instruct"),
        ("/c/hub/models--HuggingFaceTB--SmolLM2-135M-Instruct/snapshots/12ab", "SmolLM2-135M-Instruct"),
        (r"C:\Users\x\models--Qwen--Qwen2.5-7B\snapshots\12ab", "Qwen/Qwen2.5-7B"),
        ("/m/hub/Qwen/Qwen2___5-7B-Instruct/", "Qwen/Qwen2.5-7B-Instruct"),
        ("unsloth/llama-3.2-1b-instruct-unsloth-bnb-4bit", "meta-llama/Llama-3.2-1B-Instruct"),
        ("unsloth/Meta-Llama-3.1-8B-bnb-4bit", "meta-llama/Llama-3.1-8B"),
        ("Qwen/Qwen2.5-7B-Instruct-AWQ", "Qwen/Qwen2.5-7B-Instruct"),
        ("Qwen/Qwen2.5-7B-Instruct-GPTQ-Int4", "Qwen/Qwen2.5-7B-Instruct"),
        ("./SmolLM2-135M-Instruct", "SmolLM2-135M-Instruct"),
    ],
)
def test_one_model_by_two_names(one: str, other: str, tmp_path: Path) -> None:
    assert same_model(one, other)
    on = describe_base("/base", other, {**LAYOUT, "vocab_size": 48})
    folder = adapter(tmp_path / "a", GOOD, {"base_model_name_or_path": one})
    assert check_adapter("naming", folder, on).warnings == ()


@pytest.mark.parametrize(
    ("one", "other"), [("Qwen/Qwen2.5-7B", "Qwen/Qwen2.5-7B-Instruct"), ("a/Llama-3-8B", "a/Llama-3.1-8B")]
)
def test_two_models_by_their_names(one: str, other: str) -> None:
    assert not same_model(one, other)
