"""What a LoRA tensor's shape must be on a base, from its config.json alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from launch.base.lora_shapes import (
    Base,
    check_reach,
    check_tensor,
    describe_base,
    sides_text,
    traits_of,
    vocabulary_problem,
)
from launch.base.lora_tensors import LoraTensor
from launch.base.served_classes import ServedClass
from tests.support.adapter_folders import BASE, LAYOUT

Q = "model.layers.0.self_attn.q_proj"


def tensor(module: str, side: str, *shape: int) -> LoraTensor:
    return LoraTensor(f"{module}.lora_{side}.weight", module, side, False, shape)


def said(one: LoraTensor, base: Base = BASE, rank: int = 8) -> str:
    return str(check_tensor(one, rank, base) or "")


def test_layout_is_read_with_grouped_heads() -> None:
    assert BASE.sides["q_proj"] == (16, 16)
    assert BASE.sides["k_proj"] == (16, 8)
    assert BASE.sides["down_proj"] == (32, 16)
    assert describe_base("/m", "m", {"model_type": "llama"}).sides == {}
    assert describe_base("/m", "m", {**LAYOUT, "head_dim": 8}).sides["q_proj"] == (16, 32)


@pytest.mark.parametrize(
    ("one", "problem"),
    [
        (tensor(Q, "A", 8, 16), ""),
        (tensor(Q, "B", 16, 8), ""),
        (tensor(Q, "A", 4, 16), "rank 8"),
        (tensor(Q, "A", 8, 17), "is 8 x 17, the base needs 8 x 16"),
        (tensor(Q, "A", 8), "a matrix"),
        (tensor("model.layers.2.self_attn.q_proj", "A", 8, 16), "a layer from 0 to 1"),
        (tensor("model.layers.0.mlp.q_proj", "A", 8, 16), "model.layers.<number>"),
        (tensor("model.layers.00.self_attn.q_proj", "A", 8, 16), "model.layers.<number>"),
    ],
)
def test_tensor_is_held_against_the_layout(one: LoraTensor, problem: str) -> None:
    assert problem in said(one)
    assert bool(problem) == bool(said(one))


def test_nothing_is_claimed_where_the_layout_is_not_known() -> None:
    unknown = describe_base("/m", "m", {"model_type": "unheard_of", "hidden_size": 16})
    assert said(tensor("anything.q_proj", "A", 8, 99), unknown) == ""
    assert check_reach([tensor("anything.q_proj", "A", 8, 16)], unknown) is None
    misfit = check_reach([tensor("anything.q_proj", "A", 8, 99)], unknown)
    assert misfit is not None
    assert "hidden_size 16" in str(misfit)


def test_vocabulary_is_held_against_the_class() -> None:
    head = tensor("lm_head", "A", 8, 16)
    base = replace(BASE, vocabulary=48, served=ServedClass("Some", vocabulary=frozenset({"lm_head"})))
    assert vocabulary_problem([head], base) is None
    none = replace(base, served=ServedClass("Some", vocabulary=frozenset()))
    assert "the engine's class Some serves no LoRA" in (vocabulary_problem([head], none) or "")
    large = replace(base, vocabulary=300_000)
    assert "258048 at most" in (vocabulary_problem([head], large) or "")
    assert "is 49 x 8, the base needs 48 x 8" in said(tensor("lm_head", "B", 49, 8), base)


def test_language_model_inside_a_larger_one() -> None:
    config = {"model_type": "some_vl", "text_config": {**LAYOUT, "model_type": "qwen3_vl_text"}}
    assert traits_of(config)["model_type"] == "qwen3_vl"
    assert describe_base("/m", "m", config).nested


def test_sides_in_words() -> None:
    assert [sides_text(one) for one in ((8, 16), ())] == ["8 x 16", "a single number"]


def test_a_kind_that_is_no_text_is_none_that_is_known() -> None:
    assert describe_base("/m", "m", {**LAYOUT, "model_type": {"a": 1}}).sides == {}
