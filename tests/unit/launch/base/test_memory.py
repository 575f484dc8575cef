"""Bytes of weights, slots and cache."""

from __future__ import annotations

import pytest

from launch.base.lookup import find_base, weigh
from launch.base.memory import (
    kv_bytes_per_token,
    slot_bytes,
)
from launch.base.shape.quantization import quantized_by
from tests.unit.launch.planning.test_plan import QWEN


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
