"""A mixture's experts trained as one parameter: both of a layer, of the ranks and sides that the base has."""

from __future__ import annotations

from dataclasses import replace

import pytest

from launch.adapters.fused_experts import check_fused, is_fused, parameter_of
from launch.base.lora_shapes import Base
from launch.base.lora_tensors import LoraTensor
from launch.base.served_classes import ServedClass
from launch.machine.files import Unfit

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
    check_fused(found, {UP: RANK, DOWN: RANK}, base)


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


def test_class_that_takes_experts_one_by_one_is_named() -> None:
    with pytest.raises(Unfit, match="the engine's class Some"):
        check(tensors(), replace(BASE, served=ServedClass("Some")))
    check(tensors(), replace(BASE, served=ServedClass("Some", fused_experts=True)))


def test_patterns_mean_the_parameter() -> None:
    assert [parameter_of(one) for one in (UP, DOWN, "model.x")] == [
        f"{DOWN}.gate_up_proj",
        f"{DOWN}.down_proj",
        "model.x",
    ]
    assert [is_fused(one) for one in (UP, DOWN, f"{DOWN}.0.up_proj")] == [True, True, False]
