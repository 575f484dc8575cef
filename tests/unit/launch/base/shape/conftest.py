"""What several tests here share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from launch.base.shape.counting import skeletons_of
from launch.base.shape.skeleton import Skeleton

ROWS = {
    row["name"]: row
    for row in map(json.loads, Path(__file__).with_name("bases.jsonl").read_text().splitlines())
}


SIZES: dict[str, Any] = {
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "vocab_size": 1000,
    "max_position_embeddings": 32768,
    "torch_dtype": "bfloat16",
}


# What vLLM 0.32 allocated on the CPU for small models of these kinds with three slots of rank 16, 64 MiB of
# cache, requests of 16,384 tokens, batches of 2,048: LoRA buffers in bytes, cache blocks, requests at once.
ALLOCATED: dict[str, tuple[dict[str, Any], int, int, float]] = {
    "five layers in six with a window": (
        {
            "model_type": "gemma3_text",
            "num_hidden_layers": 12,
            "sliding_window": 512,
            "sliding_window_pattern": 6,
        },
        2359296,
        1024,
        4.394849785407725,
    ),
    "all layers with a window": (
        {"model_type": "mistral", "num_hidden_layers": 2, "sliding_window": 4096},
        393216,
        1024,
        20.897959183673468,
    ),
    "experts whose gate and up share an A": (
        {
            **{
                "model_type": "gpt_oss",
                "num_hidden_layers": 4,
                "num_local_experts": 4,
                "num_experts_per_tok": 2,
            },
            "sliding_window": 128,
            "layer_types": ["sliding_attention", "full_attention"] * 2,
        },
        1967616,
        1024,
        7.013698630136986,
    ),
    "Mamba in three layers of four, experts in every second": (
        {
            **{"model_type": "jamba", "num_hidden_layers": 8, "attn_layer_period": 4, "attn_layer_offset": 2},
            **{
                "expert_layer_period": 2,
                "expert_layer_offset": 1,
                "num_experts": 4,
                "num_experts_per_tok": 2,
            },
            **{"mamba_d_state": 16, "mamba_d_conv": 4, "mamba_expand": 2, "mamba_dt_rank": 8},
            "use_mamba_kernels": False,
        },
        3713280,
        1024,
        7.641791044776119,
    ),
    "Mamba-2 in three layers of four, and experts": (
        {
            **{"model_type": "granitemoehybrid", "num_hidden_layers": 8, "num_local_experts": 4},
            **{
                "num_experts_per_tok": 2,
                "shared_intermediate_size": 256,
                "mamba_n_heads": 8,
                "mamba_d_head": 32,
            },
            **{"mamba_n_groups": 1, "mamba_d_state": 64, "mamba_d_conv": 4, "mamba_expand": 2},
            "layer_types": (["mamba"] * 3 + ["attention"]) * 2,
        },
        6006528,
        341,
        6.5576923076923075,
    ),
}


MIXTURE = {
    "model_type": "remote_moe",
    "architectures": ["RemoteMoeForCausalLM"],
    "auto_map": {"AutoConfig": "configuration_remote.RemoteConfig"},
    "n_embd": 1024,
    "n_layer": 4,
    "n_head": 8,
    "vocab_size": 32000,
    "ffn_dim": 4096,
}


NEW = {"model_type": "new_thing", "architectures": ["NewThingForCausalLM"]}


# As transformers 5 writes a number that JSON does not have, where it saves such a base.
SAVED: dict[str, Any] = {
    **ROWS["granite-4.0-h-small"]["config"],
    "time_step_limit": [0.0, {"__float__": "Infinity"}],
}


SHARED = {"model_type": "zamba2", "architectures": ["Zamba2ForCausalLM"], "torch_dtype": "bfloat16"}


@pytest.fixture(scope="module")
def skeletons(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Skeleton]:
    """Of every base here, by one process; what was counted is kept, so that a plan of one asks none."""
    configs = {name: row["config"] for name, row in ROWS.items()}
    configs |= {name: {**SIZES, **more} for name, (more, *_) in ALLOCATED.items()}
    configs |= {"shared": SHARED, "hears": {"model_type": "phi4_multimodal", "architectures": ["Phi4"]}}
    configs |= {"saved": SAVED, "mixture": MIXTURE, "new": NEW, "empty": {}}
    return dict(zip(configs, skeletons_of(list(configs.values())), strict=True))
