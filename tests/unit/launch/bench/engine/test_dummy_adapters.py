"""Adapters made for a benchmark: sound, of the right size, the same for a seed."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.errors import ConfigError
from launch.adapters.check import check_adapter
from launch.base.lora_shapes import Base, describe_base
from launch.bench.engine.dummy_adapters import (
    AdapterShape,
    tensor_shapes,
    weight_bytes,
    write_dummy_adapter,
    write_versions,
)


def small_base(name: str = "small") -> Base:
    layout = {
        "model_type": "llama",
        "num_hidden_layers": 2,
        "hidden_size": 8,
        "intermediate_size": 12,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
    }
    return describe_base("/models/small", name, layout)


def qwen_base() -> Base:
    """Qwen2.5-14B-Instruct's layout, as its config.json on the hub gives it."""
    layout = {
        "model_type": "qwen2",
        "num_hidden_layers": 48,
        "hidden_size": 5120,
        "intermediate_size": 13824,
        "num_attention_heads": 40,
        "num_key_value_heads": 8,
    }
    return describe_base("Qwen/Qwen2.5-14B-Instruct", "Qwen/Qwen2.5-14B-Instruct", layout)


def test_a_made_adapter_passes_the_launchers_own_check(tmp_path: Path) -> None:
    base, shape = small_base(), AdapterShape(4, ("q_proj", "down_proj"))
    write_dummy_adapter(tmp_path / "one", base, shape, seed=1)
    checked = check_adapter("one", tmp_path / "one", base)
    assert checked.rank == 4
    assert not checked.warnings
    assert checked.size_bytes > weight_bytes(tensor_shapes(base, shape))


def test_a_seed_decides_the_weights(tmp_path: Path) -> None:
    base, shape = small_base(), AdapterShape(4, ())
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_dummy_adapter(tmp_path / name, base, shape, seed)
    ids = {name: check_adapter("one", tmp_path / name, base).id for name in "abc"}
    assert ids["a"] == ids["b"] != ids["c"]


def test_shapes_and_bytes_of_a_small_base() -> None:
    shapes = tensor_shapes(small_base(), AdapterShape(4, ("k_proj", "up_proj")))
    assert shapes["base_model.model.model.layers.1.self_attn.k_proj.lora_B.weight"] == (4, 4)
    assert shapes["base_model.model.model.layers.0.mlp.up_proj.lora_A.weight"] == (4, 8)
    assert len(shapes) == 8
    assert weight_bytes(shapes) == 2 * 2 * (4 * 8 + 4 * 4 + 4 * 8 + 12 * 4)


def test_a_base_whose_layout_is_not_known_gets_no_adapter() -> None:
    with pytest.raises(ConfigError, match="layout is not known"):
        tensor_shapes(
            describe_base("m", "m", {"model_type": "mamba", "num_hidden_layers": 2}), AdapterShape(4, ())
        )


def test_a_14b_adapter_of_rank_16_takes_138_mb() -> None:
    assert weight_bytes(tensor_shapes(qwen_base(), AdapterShape(16, ()))) == 137_625_600


def test_each_task_has_its_number_of_adapters_and_no_two_are_alike(tmp_path: Path) -> None:
    folders = write_versions(tmp_path, small_base(), {"red": 3, "green": 1, "blue": 1}, 500)
    assert {task: len(found) for task, found in folders.items()} == {"red": 3, "green": 1, "blue": 1}
    weights = {
        (path / "adapter_model.safetensors").read_bytes() for found in folders.values() for path in found
    }
    assert len(weights) == 5
