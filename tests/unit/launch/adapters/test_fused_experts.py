"""A mixture's experts, as one parameter or one by one: all of a layer, of the base's ranks and sides."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from launch.adapters.fused_experts import check_experts, holds_fused, is_fused, parameter_of
from launch.base.lora_shapes import Base
from launch.base.lora_tensors import LoraTensor
from launch.base.served_classes import ServedClass
from launch.machine.files import Unfit
from tests.support.adapter_folders import GOOD, adapter

DOWN = "model.layers.0.mlp.experts"
UP = f"{DOWN}.base_layer"
RANK, EXPERTS, HIDDEN, INNER = 2, 3, 16, 8
BASE = Base("/m", "m", 1, {}, hidden=HIDDEN, experts=EXPERTS, expert_inner=INNER)


def tensors(**changed: tuple[int, ...]) -> list[LoraTensor]:
    rows = RANK * EXPERTS
    shapes: dict[str, tuple[int, ...]] = {
        "up_A": (rows, HIDDEN),
        "up_B": (2 * INNER, rows),
        "down_A": (rows, INNER),
        "down_B": (HIDDEN, rows),
        **changed,
    }
    return [
        LoraTensor(name, UP if name.startswith("up") else DOWN, name[-1], False, shape)
        for name, shape in shapes.items()
        if shape
    ]


def check(found: list[LoraTensor], base: Base = BASE) -> None:
    check_experts(found, {UP: RANK, DOWN: RANK}, base)


def test_both_parameters_as_peft_writes_them_are_taken() -> None:
    check(tensors())
    check([LoraTensor("q", "model.layers.0.self_attn.q_proj", "A", False, (1, 1))])
    check(tensors(), replace(BASE, experts=None, expert_inner=None))  # how many there are is not known


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"up_A": (5, HIDDEN)}, "rank 2 times 3 experts, 6"),
        ({"up_A": (6, HIDDEN + 1)}, "6 x 16"),
        ({"up_B": (INNER, 6)}, "16 x 6"),
        ({"down_A": (6, 2 * INNER)}, "6 x 8"),
        ({"down_B": (6, HIDDEN, 1)}, "a matrix"),
        ({"down_A": (), "down_B": ()}, "but not model.layers.0.mlp.experts"),
    ],
)
def test_what_the_engine_would_refuse_is_refused(changed: dict[str, tuple[int, ...]], said: str) -> None:
    with pytest.raises(Unfit, match=said):
        check(tensors(**changed))


def test_class_that_takes_experts_one_by_one_alone_is_named() -> None:
    with pytest.raises(Unfit, match="the engine's class Some"):
        check(tensors(), replace(BASE, served=ServedClass("Some")))
    check(tensors(), replace(BASE, served=ServedClass("Some", fused_experts=True)))
    check(tensors(), replace(BASE, served=ServedClass("Some", both_experts=True)))


def one_by_one(experts: int = EXPERTS, projections: str = "gate up down") -> list[LoraTensor]:
    modules = [f"{DOWN}.{number}.{name}_proj" for number in range(experts) for name in projections.split()]
    return [
        LoraTensor(f"{module}.{side}", module, side, False, (1, 1)) for module in modules for side in "AB"
    ]


@pytest.mark.parametrize("found", [one_by_one(2), one_by_one(projections="gate up"), one_by_one()[:-2]])
def test_experts_one_by_one_are_all_there_or_none(found: list[LoraTensor]) -> None:
    base = replace(BASE, served=ServedClass("Some"))
    check(one_by_one(), base)
    check(found)  # of a class that is not known
    with pytest.raises(Unfit, match="of all experts together or none"):
        check(found, base)


def test_experts_without_a_gate_have_two_matrices_each() -> None:
    check(one_by_one(projections="up down"), replace(BASE, served=ServedClass("NemotronHForCausalLM")))


def test_class_that_takes_experts_as_one_parameter_alone_is_named() -> None:
    with pytest.raises(Unfit, match="put --enable-mixed-moe-lora-format into"):
        check(one_by_one(), replace(BASE, served=ServedClass("Some", fused_experts=True)))
    check(one_by_one(), replace(BASE, served=ServedClass("Some", fused_experts=True, both_experts=True)))


def test_folder_says_whether_it_holds_experts_as_one_parameter(tmp_path: Path) -> None:
    name = f"base_model.model.{UP}"
    fused = {f"{name}.lora_A.weight": (6, 16), f"{name}.lora_B.weight": (16, 6)}
    assert holds_fused(adapter(tmp_path / "fused", {**GOOD, **fused}))
    assert not holds_fused(adapter(tmp_path / "plain"))
    assert not holds_fused(tmp_path / "none")


def test_patterns_mean_the_parameter() -> None:
    assert [parameter_of(one) for one in (UP, DOWN, "model.x")] == [
        f"{DOWN}.gate_up_proj",
        f"{DOWN}.down_proj",
        "model.x",
    ]
    assert [is_fused(one) for one in (UP, DOWN, f"{DOWN}.0.up_proj")] == [True, True, False]
