"""What each layer keeps of a request, by the matrices that it has."""

from __future__ import annotations

from launch.base.shape.kv_layers import LayerCache, layer_caches
from launch.base.shape.skeleton import Part, Skeleton

HEADS = {"num_hidden_layers": 4, "hidden_size": 16, "num_attention_heads": 4, "head_dim": 4}
LAYERS = (0, 1, 2, 3)


def caches(*parts: Part, **settings: object) -> tuple[LayerCache, ...]:
    return layer_caches(Skeleton({**HEADS, **settings}, parts, "a test"))


def linear(name: str, *shape: int, layers: tuple[int, ...] = LAYERS) -> Part:
    return Part(f"model.layers.{{}}.self_attn.{name}", "linear", shape, layers)


def test_keys_and_values_of_every_layer() -> None:
    assert caches(linear("k_proj", 16, 8), linear("v_proj", 16, 8)) == (LayerCache("full", 4, 16, 2),)


def test_one_matrix_for_all_three_is_taken_apart() -> None:
    assert caches(linear("qkv_proj", 16, 32), linear("o_proj", 16, 16)) == (LayerCache("full", 4, 16, 2),)


def test_layers_with_a_window_are_told_apart() -> None:
    kinds = ["sliding_attention", "full_attention"] * 2
    found = caches(linear("k_proj", 16, 8), linear("v_proj", 16, 8), sliding_window=128, layer_types=kinds)
    assert found == (LayerCache("full", 2, 16, 2), LayerCache("window", 2, 16, 2, 128))
    off = caches(linear("k_proj", 16, 8), sliding_window=128, use_sliding_window=False)
    assert [one.kind for one in off] == ["full"]


def test_latent_attention_keeps_one_vector() -> None:
    found = caches(linear("kv_a_proj_with_mqa", 16, 10), kv_lora_rank=8, qk_rope_head_dim=2)
    assert found == (LayerCache("latent", 4, 10),)


def test_latent_attention_that_vllm_expands_keeps_whole_keys() -> None:
    sizes = {"kv_lora_rank": 8, "qk_nope_head_dim": 4, "qk_rope_head_dim": 2, "model_type": "minicpm3"}
    found = caches(linear("kv_a_proj_with_mqa", 16, 10), **sizes)
    assert found == (LayerCache("full", 4, 2 * 4 * 6, 4),)


def test_last_layers_may_read_what_others_keep() -> None:
    assert caches(linear("k_proj", 16, 8), num_kv_shared_layers=3) == (LayerCache("full", 1, 16, 2),)


def test_layer_with_a_state_keeps_no_keys() -> None:
    mamba = [
        Part("model.layers.{}.mixer.conv1d", "conv", (4, 10), (0, 1)),
        Part("model.layers.{}.mixer.A_log", "plain", (10, 16), (0, 1)),
    ]
    found = caches(*mamba, linear("k_proj", 16, 8, layers=(2, 3)), linear("v_proj", 16, 8, layers=(2, 3)))
    state = next(one for one in found if one.kind == "state")
    assert (state.layers, state.elements, state.recurrent) == (2, 30, 160)
    assert [one.layers for one in found if one.attends] == [2]
