"""The memory plan: known models to the parameter, vLLM's own figures, and the key to change."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gateway.config.document import Config
from gateway.errors import ConfigError
from launch.adapters.check import ENGINE_RANKS
from launch.base import lookup
from launch.base.lookup import find_base, known_models, weigh
from launch.base.memory import (
    GIB,
    cache,
    default_block_size,
    kv_bytes_per_token,
    slot_bytes,
    weight_bytes,
)
from launch.base.shape.counting import skeletons_of
from launch.base.shape.kv_layout import Storing, lay_out
from launch.base.shape.model_shape import ModelShape, shape_of
from launch.base.shape.quantization import quantized_by
from launch.cli.main import build_app
from launch.planning.device_memory import DeviceMemory, main_memory, named_card
from launch.planning.findings import errors
from launch.planning.inputs import Asked
from launch.planning.plan import MemoryPlan
from launch.planning.planner import plan_of
from tests.support.adapter_folders import adapter, weights

ROOT = Path(__file__).parents[4]
QWEN = "Qwen/Qwen2.5-14B-Instruct"
CARD_48 = named_card("48GB")
MACHINE = DeviceMemory(False, "main memory", 24 * GIB, 20 * GIB, "a test")
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


@pytest.mark.parametrize("rank", [1, 5, 8, 9, 33, 100, 257, 400])
def test_recommended_rank_is_the_smallest_of_vllms_list(rank: int) -> None:
    found = planned(rank=rank, max_lora_rank=512).recommended["max_lora_rank"]
    assert found == min(known for known in ENGINE_RANKS if known >= rank)


def test_too_large_a_rank_names_the_key_and_what_it_frees() -> None:
    plan = planned(max_lora_rank=64, max_model_len=4096)
    assert any("base.max_lora_rank: 64: no adapter is over 16" in text for text in texts(plan, "warning"))


def test_too_large_a_base_names_every_way_out() -> None:
    [error] = texts(planned(named_card("24GB"), max_model_len=8192), "error")
    assert error.startswith("base.gpu_memory_utilization: one request of 8,192 tokens does not fit")
    assert "raise base.tensor_parallel_size from 1 to 2" in error
    assert "quantized to 4 bit (AWQ, GPTQ), about 10.0 GB" in error


def test_each_mend_of_a_long_context_makes_it_fit() -> None:
    asked: dict[str, Any] = {"gpu_memory_utilization": 0.75, "max_model_len": 32768, "max_num_seqs": 256}
    [error] = texts(planned(**asked), "error")
    mends = re.findall(r"(?:raise|lower) base\.(\w+) from \S+ to ([\d.]+)", error)
    assert {"gpu_memory_utilization", "max_model_len"} <= {key for key, _ in mends}
    for key, value in mends:
        number = float(value) if "." in value else int(value)
        assert not errors(planned(**{**asked, key: number}).findings), key


def test_a_card_that_others_use_is_an_error_with_a_lower_share() -> None:
    shared = dataclasses.replace(CARD_48, free_bytes=int(5.89 * GIB))
    found = texts(planned(shared, gpu_memory_utilization=0.75, max_model_len=8192), "error")
    assert any("asks for 35.64 GiB, 5.39 GiB" in text and "lower it to 0.11" in text for text in found)


def test_no_headroom_is_a_warning_with_the_difference() -> None:
    [warning] = texts(planned(gpu_memory_utilization=0.97, max_model_len=8192), "warning")
    assert "leaves 3% of the card" in warning
    assert "lower it by 0.07 to 0.9" in warning


def test_tensor_parallel_splits_weights_cache_and_one_side_of_each_slot() -> None:
    one, two = planned(max_model_len=8192), planned(max_model_len=8192, tensor_parallel_size=2)
    assert row(two, "base weights") == pytest.approx(row(one, "base weights") / 2, rel=0.001)
    assert two.cache.bytes_per_token == one.cache.bytes_per_token // 2
    assert row(one, "LoRA slots") / 2 < row(two, "LoRA slots") < row(one, "LoRA slots")
    found = texts(planned(max_model_len=8192, tensor_parallel_size=3), "error")
    assert any("attention heads" in text for text in found)


def test_more_cards_than_key_value_heads_repeat_them() -> None:
    shape = find_base("Qwen/Qwen2.5-7B-Instruct").shape  # four key-value heads
    assert kv_bytes_per_token(shape, "auto", "bfloat16", 8) == kv_bytes_per_token(
        shape, "auto", "bfloat16", 4
    )


def test_quantized_weights_are_smaller_and_the_slots_are_not() -> None:
    plain, small = find_base(QWEN), find_base(f"{QWEN}-AWQ")
    size = weigh(small, "float16", small.shape.quantization).size_bytes
    assert size == pytest.approx(9.98e9, rel=0.01)
    assert slot_bytes(plain.shape, 16, "bfloat16") == slot_bytes(small.shape, 16, "float16")
    for method, most in (("fp8", 17e9), ("bitsandbytes", 12e9)):
        assert weigh(plain, "bfloat16", quantized_by(method)).size_bytes < most


def test_latent_attention_keeps_one_vector_a_token() -> None:
    shape = find_base("deepseek-ai/DeepSeek-V2-Lite-Chat").shape
    assert kv_bytes_per_token(shape, "auto", "bfloat16") == 27 * (512 + 64) * 2


def test_extra_arguments_count() -> None:
    document = {"base": {"model": QWEN, "max_model_len": 8192}}
    extra = {"engine": {"extra_args": ["--kv-cache-dtype=fp8", "--max_num_seqs", "16", "--block-size", "32"]}}
    plan = plan_of(Config.model_validate(document | extra), CARD_48)
    assert plan.cache.bytes_per_token == 98_304
    assert (plan.cache.block_size, plan.inputs.engine.max_num_seqs) == (32, 16)
    bad = {"engine": {"extra_args": ["--max-num-seqs", "many"]}}
    with pytest.raises(ConfigError, match="is no number"):
        plan_of(Config.model_validate(document | bad), CARD_48)


def test_main_memory_that_is_too_small_names_the_cache() -> None:
    base: dict[str, Any] = {"model": "HuggingFaceTB/SmolLM2-135M-Instruct", "max_model_len": 2048}
    roomy = planned(MACHINE, kv_cache_gib=1, **base)
    assert roomy.cache.tokens == 46592
    assert not errors(roomy.findings)
    full = planned(dataclasses.replace(MACHINE, free_bytes=3 * GIB), kv_cache_gib=2, **base)
    assert any("base.kv_cache_gib: 2: the engine needs" in text for text in texts(full, "error"))
    tight = planned(MACHINE, kv_cache_gib=0.01, **base)
    [error] = texts(tight, "error")
    match = re.search(r"raise it to ([\d.]+)", error)
    assert match is not None
    assert not errors(planned(MACHINE, kv_cache_gib=float(match[1]), **base).findings)


def test_slots_that_main_memory_has_no_room_for_are_to_be_fewer() -> None:
    base: dict[str, Any] = {"model": "HuggingFaceTB/SmolLM2-135M-Instruct", "max_model_len": 2048}
    [error] = texts(planned(MACHINE, kv_cache_gib=1, max_loras=2000, **base), "error")
    match = re.search(r"base\.max_loras: 2000: the engine needs .*; lower it to (\d+)", error)
    assert match is not None
    assert not errors(planned(MACHINE, kv_cache_gib=1, max_loras=int(match[1]), **base).findings)


def small_model(folder: Path, dtype: str = "F32") -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", **SMALL}))
    (folder / "model.safetensors").write_bytes(weights({"model.embed_tokens.weight": (1000, 128)}))
    return folder


def test_local_files_are_weighed_by_their_headers(tmp_path: Path) -> None:
    source = find_base(str(small_model(tmp_path / "m")))
    found = weigh(source, "bfloat16", None)
    assert "headers of 1 safetensors" in found.known_from
    assert found.size_bytes == 1000 * 128 * 2 + 24 * 2 * 128 * 2  # as bfloat16, the vocabulary filled up
    index = {"metadata": {"total_size": 12345}, "weight_map": {"a": "model-1.safetensors"}}
    (tmp_path / "m" / lookup.INDEX).write_text(json.dumps(index))
    assert weigh(source, "bfloat16", None).size_bytes == 12345


def test_config_alone_is_enough(tmp_path: Path) -> None:
    file = small_model(tmp_path / "m") / "config.json"
    (tmp_path / "m" / "model.safetensors").unlink()
    assert "config.json" in weigh(find_base(str(file)), "bfloat16", None).known_from


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("./none", "no such folder or config.json"),
        ("not a name at all!", "is neither a folder"),
        ("Qwen/Qwen2.5-14B-Instrukt", f"did you mean {QWEN}"),
    ],
)
def test_unknown_base_says_what_to_give(model: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(model: str) -> Path:
        raise ConfigError("base.model", model, "the hub cannot be reached")

    monkeypatch.setattr("launch.base.locate.hub_config", unreachable)
    with pytest.raises(ConfigError, match=re.escape(expected)):
        find_base(model)


def test_config_without_its_dimensions_is_named(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text('{"model_type": "bert"}')
    with pytest.raises(ConfigError, match="has no hidden_size"):
        find_base(str(file))


@pytest.mark.parametrize(
    ("size", "gib"), [("48GB", 47.52), ("47.5GiB", 47.5), ("24 gb", 23.76), ("80", 79.2), ("49140MiB", 47.51)]
)
def test_card_sizes(size: str, gib: float) -> None:
    assert named_card(size).total_bytes / GIB == pytest.approx(gib, abs=0.01)


@pytest.mark.parametrize("size", ["", "0GB", "much", "48TB", "-4GB"])
def test_card_size_that_is_none(size: str) -> None:
    with pytest.raises(ConfigError, match="--gpu-memory"):
        named_card(size)


def test_container_limit_counts(tmp_path: Path) -> None:
    meminfo, limit = tmp_path / "meminfo", tmp_path / "max"
    meminfo.write_text("MemTotal: 4096 kB\nMemAvailable: 2048 kB\n")
    assert main_memory(meminfo, limit).total_bytes == 4096 * 1024
    limit.write_text("max\n")
    assert main_memory(meminfo, limit).total_bytes == 4096 * 1024
    limit.write_text(f"{1024 * 1024}\n")
    assert (main_memory(meminfo, limit).total_bytes, main_memory(meminfo, limit).free_bytes) == (
        1 << 20,
        1 << 20,
    )


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(build_app(), ["plan", *arguments])
    return result.exit_code, result.output


def test_command_needs_no_file_of_the_model_nor_of_its_adapters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    for name in ("CONCEPT", "NAMING", "RELATIONSHIP", "ATTRIBUTE"):
        monkeypatch.delenv(f"{name}_ADAPTER_PATH", raising=False)
    code, text = run("-c", "configs/qwen2.5-14b.yaml", "--gpu-memory", "48GB")
    assert code == 0, text
    for expected in ("29.54", "35.64", "0.75 x 47.52 GiB", "not the weights alone", "relationship", "3.3"):
        assert re.search(expected.replace(" ", r"\s[\s│]*"), text), expected


def test_command_prints_json_and_fails_where_it_does_not_fit() -> None:
    code, text = run("--base", QWEN, "--gpu-memory", "24GB", "--max-model-len", "4096", "--json")
    assert code == 2
    found = json.loads(text)
    assert found["rows"][0]["size_bytes"] == 2 * found["parameters"]
    assert found["findings"][0]["level"] == "error"


def test_command_reads_an_adapter_that_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = small_model(tmp_path / "m")
    side: dict[str, tuple[int, ...]] = {
        "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight": (8, 128)
    }
    side["base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight"] = (128, 8)
    adapter(tmp_path / "a", side)
    file = tmp_path / "c.yaml"
    file.write_text(
        f"base: {{model: {model}}}\ntasks: {{one: {{adapter: {tmp_path}/a}}, two: {{adapter: none}}}}\n"
    )
    code, text = run("-c", str(file), "--gpu-memory", "1GB", "--json", "--max-model-len", "1024")
    one, two = json.loads(text)["adapters"]
    assert (one["rank"], one["known"]) == (8, "header")
    assert (two["rank"], two["known"]) == (16, "allowance")
    assert code in (0, 2)


def test_command_refuses_an_impossible_option() -> None:
    result = CliRunner().invoke(build_app(), ["plan", "--base", QWEN, "--gpu-memory-utilization", "7"])
    assert isinstance(result.exception, ConfigError)
    assert "--gpu-memory-utilization" in str(result.exception)
