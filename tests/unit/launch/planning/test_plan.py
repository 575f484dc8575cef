"""The memory plan: known models to the parameter, vLLM's own figures, and the key to change."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.config.document import Config
from gateway.errors import ConfigError
from launch.base.lookup import known_models
from launch.base.memory import cache, default_block_size, slot_bytes, weight_bytes
from launch.base.shape.counting import skeletons_of
from launch.base.shape.kv_layout import Storing, lay_out
from launch.base.shape.model_shape import ModelShape, shape_of
from launch.machine.memory import GIB
from launch.planning.device_memory import DeviceMemory, named_card
from launch.planning.findings import errors
from launch.planning.inputs import Asked
from launch.planning.plan import MemoryPlan
from launch.planning.planner import plan_of

QWEN = "Qwen/Qwen2.5-14B-Instruct"


CARD_48 = named_card("48GB")


SMALL = {
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 1000,
    "max_position_embeddings": 2048,
    "torch_dtype": "bfloat16",
}


# What vLLM 0.32 allocated for models of this size with three slots of rank 16 and a cache of 64 MiB:
# LoRA buffers in bytes, parameters in bytes, cache blocks.
MEASURED: dict[str, tuple[dict[str, object], int, int, int]] = {
    "llama": ({"head_dim": 32}, 609792, 1115392, 1024),
    "llama, tied": (
        {"model_type": "llama", "head_dim": 32, "tie_word_embeddings": True},
        609792,
        853248,
        1024,
    ),
    "qwen2": ({}, 393216, 1116416, 1024),
    "qwen3": ({"head_dim": 64, "tie_word_embeddings": True}, 683520, 1050368, 512),
    "mistral": ({"head_dim": 32}, 393216, 1115392, 1024),
    "mixtral": ({"num_local_experts": 4}, 1298688, 2297088, 1024),
    "qwen3_moe": ({"head_dim": 32, "num_experts": 4, "moe_intermediate_size": 64}, 856320, 1117696, 1024),
    "deepseek_v2": (
        {
            **{
                "num_key_value_heads": 4,
                "kv_lora_rank": 512,
                "qk_nope_head_dim": 128,
                "qk_rope_head_dim": 64,
            },
            **{"v_head_dim": 128, "n_routed_experts": 4, "n_shared_experts": 2, "moe_intermediate_size": 64},
            "first_k_dense_replace": 1,
            "q_lora_rank": None,
        },
        1143168,
        4067584,
        1820,
    ),
}


def config(**base: object) -> Config:
    return Config.model_validate({"base": {"model": QWEN, **base}})


def planned(
    device: DeviceMemory = CARD_48, adapters: int = 4, rank: int | None = 16, **base: object
) -> MemoryPlan:
    return plan_of(config(**base), device, Asked(adapters, rank))


def row(plan: MemoryPlan, name: str) -> int:
    return next(row.size_bytes for row in plan.rows if row.name == name)


def texts(plan: MemoryPlan, level: str) -> list[str]:
    return [f"{found.key}: {found.text}" for found in plan.findings if found.level == level]


@pytest.fixture(scope="module")
def shapes() -> dict[str, ModelShape]:
    """Of every known model and every kind that was measured, counted by one process."""
    configs: dict[str, dict[str, Any]] = {
        name: {"model_type": name, **SMALL, **more} for name, (more, *_) in MEASURED.items()
    }
    for name, entry in known_models().items():
        given = entry["config"]
        assert isinstance(given, dict)
        configs[name] = given
    counted = skeletons_of(list(configs.values()))
    return {
        name: shape_of(given, skeleton)
        for (name, given), skeleton in zip(configs.items(), counted, strict=True)
    }


@pytest.mark.parametrize("name", known_models())
def test_known_model_has_the_parameters_that_its_page_says(name: str, shapes: dict[str, ModelShape]) -> None:
    entry = known_models()[name]
    if "parameters" in entry:
        assert shapes[name].parameters == entry["parameters"]
    else:
        assert shapes[name].quantization is not None
    assert shapes[name].exact


@pytest.mark.parametrize("kind", MEASURED)
def test_slots_weights_and_blocks_are_what_vllm_allocates(kind: str, shapes: dict[str, ModelShape]) -> None:
    _, lora, stored, blocks = MEASURED[kind]
    shape = shapes[kind]
    assert 3 * slot_bytes(shape, 16, "bfloat16") == lora
    assert weight_bytes(shape, "bfloat16", None) == stored
    size = default_block_size(shape, gpu=False)
    layout = lay_out(shape.caches, Storing(2, "auto", size, 2048))
    assert cache(64 * 1024**2, layout, size, 2048).blocks == blocks


def test_qwen_on_48_gb_is_the_quick_references_table() -> None:
    plan = planned(gpu_memory_utilization=0.75, max_loras=4, max_model_len=8192)
    assert row(plan, "base weights") == pytest.approx(29.54e9, rel=0.001)
    assert plan.budget_bytes / GIB == pytest.approx(35.65, rel=0.001)  # its "35 GB", and its error's figure
    assert row(plan, "LoRA slots") == 4 * 137_625_600
    assert sum(row.size_bytes for row in plan.rows) == plan.budget_bytes
    assert plan.headroom_share == pytest.approx(0.25, abs=0.001)
    assert plan.cache.bytes_per_token == 196_608
    assert plan.slot_tokens == 700
    assert not errors(plan.findings)
    assert plan.recommended["gpu_memory_utilization"] == 0.9
    assert plan.recommended["max_loras"] == 4


def test_cache_grows_with_the_utilization_by_what_the_note_says() -> None:
    less = planned(gpu_memory_utilization=0.75, max_model_len=8192)
    more = planned(gpu_memory_utilization=0.9, max_model_len=8192)
    note = next(text for text in texts(less, "note") if "gpu_memory_utilization" in text)
    assert f"{more.cache.tokens - less.cache.tokens:,} tokens more" in note


def test_one_more_slot_costs_the_tokens_that_the_plan_says() -> None:
    one, two = (planned(max_loras=n, max_model_len=8192) for n in (4, 5))
    assert one.cache.tokens - two.cache.tokens == pytest.approx(one.slot_tokens, abs=16)


def test_tensor_parallel_splits_weights_cache_and_one_side_of_each_slot() -> None:
    one, two = planned(max_model_len=8192), planned(max_model_len=8192, tensor_parallel_size=2)
    assert row(two, "base weights") == pytest.approx(row(one, "base weights") / 2, rel=0.001)
    assert two.cache.bytes_per_token == one.cache.bytes_per_token // 2
    assert row(one, "LoRA slots") / 2 < row(two, "LoRA slots") < row(one, "LoRA slots")
    found = texts(planned(max_model_len=8192, tensor_parallel_size=3), "error")
    assert any("attention heads" in text for text in found)


def test_extra_arguments_count() -> None:
    document = {"base": {"model": QWEN, "max_model_len": 8192}}
    extra = {"engine": {"extra_args": ["--kv-cache-dtype=fp8", "--max_num_seqs", "16", "--block-size", "32"]}}
    plan = plan_of(Config.model_validate(document | extra), CARD_48)
    assert plan.cache.bytes_per_token == 98_304
    assert (plan.cache.block_size, plan.inputs.engine.max_num_seqs) == (32, 16)
    bad = {"engine": {"extra_args": ["--max-num-seqs", "many"]}}
    with pytest.raises(ConfigError, match="is no number"):
        plan_of(Config.model_validate(document | bad), CARD_48)
