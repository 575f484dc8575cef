"""Which layers a name of a module stands for."""

from __future__ import annotations

import pytest

from launch.base.shape.module_names import as_names
from launch.base.shape.skeleton import Part
from tests.unit.launch.base.shape.test_quantization import EXPERTS, LAYERS

QUERY = Part("model.layers.{}.self_attn.q_proj", "linear", (128, 128), LAYERS)


@pytest.mark.parametrize(
    ("name", "left_out"),
    [
        ("lm_head", []),
        ("self_attn", [0, 1, 2]),
        ("model.layers.1", [1]),
        ("model.layers.1.self_attn", [1]),
        ("model.layers.1*", [1]),
        ("model.language_model.layers.2.self_attn*", [2]),
        ("language_model.model.layers.0.*", [0]),
        ("model.layers.*.self_attn", [0, 1, 2]),
        ("*self_attn*", [0, 1, 2]),
        ("re:.*self_attn.*", [0, 1, 2]),
        (r"re:^model\.layers\.(0|2)\..*", [0, 2]),
        ("re:(", []),
        ("model.layers.10.self_attn", []),
    ],
)
def test_a_name_leaves_out_what_it_means(name: str, left_out: list[int]) -> None:
    names = as_names([name])
    assert [layer for layer in LAYERS if names.match(QUERY.name, layer)] == left_out


def test_an_expert_named_alone_stands_for_all() -> None:
    assert as_names([r"re:.*mlp\.experts\.0\.up_proj"]).match(EXPERTS.name, 0)
    assert not as_names([r"re:.*mlp\.(gate|up|down)_proj.*"]).match(EXPERTS.name, 0)
