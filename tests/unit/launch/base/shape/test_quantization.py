"""Every spelling of a quantization that vLLM names, as bits of a weight and as what it leaves out."""

from __future__ import annotations

from typing import Any

import pytest

from launch.base.shape.quantization import cache_type, read_quantization
from launch.base.shape.skeleton import Part

LAYERS = (0, 1, 2)


MATRIX = Part("model.layers.{}.mlp.down_proj", "linear", (256, 128), LAYERS)


EXPERTS = Part("model.layers.{}.mlp.experts.gate_up_proj", "experts", (4, 512, 128), LAYERS)


GROUP = {
    "weights": {"num_bits": 4, "group_size": 128, "type": "int", "symmetric": True},
    "targets": ["Linear"],
}


NVFP4 = {"weights": {"num_bits": 4, "group_size": 16, "type": "float"}, "targets": ["Linear"]}


BITS: list[tuple[dict[str, Any], float]] = [
    ({"quant_method": "fp8", "weight_block_size": [128, 128]}, 8 + 32 / 128**2),
    ({"quant_method": "fp8", "activation_scheme": "static"}, 8),
    ({"quant_method": "fbgemm_fp8"}, 8),
    ({"quant_method": "gptq", "bits": 4, "group_size": 128}, 4 + 20 / 128),
    ({"quant_method": "gptq", "bits": 8, "group_size": -1}, 8),
    ({"quant_method": "awq", "w_bit": 4, "q_group_size": 64}, 4 + 20 / 64),
    ({"quant_method": "auto-round", "bits": 3, "group_size": 32}, 3 + 19 / 32),
    ({"quant_method": "auto-round", "bits": 4, "group_size": 32, "data_type": "mx_fp"}, 4.25),
    ({"quant_method": "auto-round", "bits": 4, "group_size": 16, "data_type": "nv_fp4_with_static_gs"}, 4.5),
    ({"quant_method": "modelopt_fp4"}, 4.5),
    ({"quant_method": "modelopt_mxfp8"}, 8.25),
    ({"quant_method": "bitsandbytes", "load_in_4bit": True}, 4.5),
    ({"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_use_double_quant": True}, 4.126953125),
    ({"quant_method": "bitsandbytes", "load_in_8bit": True}, 8),
    ({"quant_method": "compressed-tensors", "config_groups": {"a": GROUP}}, 4 + 16 / 128),
    ({"quant_method": "compressed-tensors", "config_groups": {"a": NVFP4}}, 4.5),
    ({"quant_method": "modelopt", "quant_algo": "FP8"}, 8),
    ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, 4.5),
    ({"quant_method": "modelopt", "config_groups": {"a": NVFP4}}, 4.5),
    ({"quantization": {"quant_algo": "NVFP4"}, "producer": {"name": "modelopt"}, "quant_algo": ""}, 4.5),
    ({"quant_method": "hqq", "quant_config": {"weight_quant_params": {"nbits": 4, "group_size": 64}}}, 4.5),
    ({"quant_method": "torchao", "quant_type": "int4_weight_only"}, 4.25),
    (
        {
            "quant_method": "torchao",
            "quant_type": {"default": {"_type": "Float8WeightOnlyConfig", "_data": {}}},
        },
        8,
    ),
    ({"quant_method": "aqlm", "num_codebooks": 1, "nbits_per_codebook": 16, "in_group_size": 8}, 2),
    ({"quant_method": "quark", "global_quant_config": {"weight": {"dtype": "fp8_e4m3"}}}, 8),
    ({"quant_method": "quark", "global_quant_config": {"weight": {"dtype": "fp4", "group_size": 32}}}, 4.25),
]


@pytest.mark.parametrize(("settings", "bits"), BITS)
def test_bits_of_a_weight_with_its_scale(settings: dict[str, Any], bits: float) -> None:
    found = read_quantization({"quantization_config": settings})
    assert found is not None
    assert found.known
    scheme = found.scheme(MATRIX, 1)
    assert scheme is not None
    assert scheme.bits == pytest.approx(bits)


def test_mxfp4_is_of_the_experts_alone() -> None:
    found = read_quantization({"quantization_config": {"quant_method": "mxfp4"}})
    assert found is not None
    assert found.scheme(MATRIX, 1) is None
    scheme = found.scheme(EXPERTS, 1)
    assert scheme is not None
    assert scheme.bits == 4.25


def test_layers_of_their_own_bits() -> None:
    listed = {"model.layers.0.mlp.down_proj": {"quant_algo": "FP8"}}
    found = read_quantization(
        {
            "quantization_config": {
                "quant_method": "modelopt",
                "quant_algo": "MIXED_PRECISION",
                "quantized_layers": listed,
            }
        }
    )
    assert found is not None
    assert found.scheme(MATRIX, 0) is not None
    assert found.scheme(MATRIX, 1) is None


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"quant_method": "modelopt", "kv_cache_quant_algo": "FP8"}, "fp8"),
        ({"quant_method": "modelopt", "kv_cache_scheme": {"num_bits": 8, "type": "float"}}, "fp8"),
        ({"quant_method": "compressed-tensors", "kv_cache_scheme": {"num_bits": 8}}, "fp8"),
        ({"quant_method": "compressed-tensors", "kv_cache_scheme": None}, None),
        ({"quant_method": "fp8"}, None),
    ],
)
def test_a_checkpoint_may_name_the_type_of_its_cache(settings: dict[str, Any], expected: str | None) -> None:
    assert cache_type({"quantization_config": settings}) == expected


def test_a_name_for_each_expert_makes_one_rule_for_each_scheme() -> None:
    experts = "model.layers.{layer}.mlp.experts.{expert}.down_proj"
    named = {
        experts.format(layer=layer, expert=expert): {"quant_algo": "NVFP4" if layer else "FP8"}
        for layer in LAYERS
        for expert in range(200)
    }
    found = read_quantization(
        {
            "quantization_config": {
                "quant_method": "modelopt",
                "quant_algo": "MIXED",
                "quantized_layers": named,
            }
        }
    )
    assert found is not None
    assert len(found.rules) == 2
    part = Part("model.layers.{}.mlp.experts.down_proj", "experts", (200, 128, 256), LAYERS)
    schemes = [found.scheme(part, layer) for layer in LAYERS]
    assert [scheme.bits if scheme else None for scheme in schemes] == [8, 4.5, 4.5]


def test_an_unknown_method_is_not_refused() -> None:
    found = read_quantization({"quantization_config": {"quant_method": "tomorrow"}})
    assert found is not None
    assert not found.known
    assert found.scheme(MATRIX, 0) is None
