"""A decoder's parts by arithmetic, added up by hand."""

from __future__ import annotations

import pytest

from launch.base.shape.kv_layers import layer_caches
from launch.base.shape.plain_decoder import estimate, is_plain, plain_decoder
from tests.support.adapter_folders import LAYOUT

CONFIG = {**LAYOUT, "vocab_size": 48}
ATTENTION = 16 * 16 + 16 * 8 + 16 * 8 + 16 * 16
FEED = 3 * 16 * 32
LAYER = ATTENTION + FEED + 2 * 16
VOCABULARY = 2 * 48 * 16 + 16  # with its norm


def test_llama_is_what_it_adds_up_to() -> None:
    assert plain_decoder(CONFIG).parameters == 2 * LAYER + VOCABULARY
    tied = plain_decoder({**CONFIG, "tie_word_embeddings": True})
    assert tied.parameters == 2 * LAYER + VOCABULARY - 48 * 16


@pytest.mark.parametrize(
    ("changes", "more"),
    [
        ({"model_type": "qwen2"}, 2 * (16 + 8 + 8)),
        ({"model_type": "qwen3", "head_dim": 4}, 2 * 2 * 4),
        ({"attention_bias": True}, 2 * (16 + 8 + 8 + 16)),
        ({"mlp_bias": True}, 2 * (32 + 32 + 16)),
    ],
)
def test_what_a_family_has_beside(changes: dict[str, object], more: int) -> None:
    assert plain_decoder({**CONFIG, **changes}).parameters == 2 * LAYER + VOCABULARY + more


def test_family_is_plain_where_its_config_leaves_nothing_open() -> None:
    assert is_plain(CONFIG)
    assert not is_plain({**CONFIG, "model_type": "unheard_of"})
    assert not is_plain({**CONFIG, "use_sliding_window": True})
    assert not is_plain({name: value for name, value in CONFIG.items() if name != "intermediate_size"})


def test_other_names_are_estimated_and_it_is_said() -> None:
    old = {"n_embd": 16, "n_layer": 2, "n_head": 4, "vocab_size": 48, "intermediate_size": 32}
    found = estimate({**old, "num_key_value_heads": 2}, "nothing can count it")
    assert (found.parameters, found.exact) == (2 * LAYER + VOCABULARY, False)
    assert found.reason == "nothing can count it"
    assert estimate({"model_type": "x"}, "r").parts == ()


def test_mixtures_experts_are_counted_from_the_first_such_layer() -> None:
    mixture = {**CONFIG, "num_experts": 4, "moe_intermediate_size": 8, "first_k_dense_replace": 1}
    experts = 16 * 4 + 4 * 16 * 16 + 4 * 16 * 8
    found = estimate(mixture, "r")
    assert found.parameters == 2 * (LAYER - FEED) + FEED + experts + VOCABULARY


def test_chatglms_names_are_read() -> None:
    glm = {"hidden_size": 16, "num_layers": 2, "num_attention_heads": 4, "padded_vocab_size": 48}
    found = estimate({**glm, "ffn_hidden_size": 32, "multi_query_group_num": 2, "kv_channels": 4}, "r")
    assert found.parameters == 2 * LAYER + VOCABULARY
    assert (found.settings["num_key_value_heads"], found.settings["head_dim"]) == (2, 4)


def test_language_model_of_a_larger_one_is_estimated() -> None:
    for part in ("text_config", "llm_config", "language_config", "thinker_config"):
        found = estimate({"model_type": "sees", "hidden_size": 16, part: CONFIG}, "r")
        assert found.parameters == 2 * LAYER + VOCABULARY


def test_a_width_of_gate_and_up_together_is_halved() -> None:
    found = estimate({**CONFIG, "model_type": "molmo", "intermediate_size": 64}, "r")
    assert found.parameters == 2 * LAYER + VOCABULARY


def test_layers_that_a_search_made_unlike_each_other_are_counted_one_by_one() -> None:
    whole = {"attention": {"n_heads_in_group": 2}, "ffn": {"ffn_mult": 3.0}}
    blocks = [
        whole,
        {"attention": {"no_op": True, "n_heads_in_group": None}, "ffn": {"ffn_mult": 3.0}},
        {"attention": {"replace_with_linear": True}, "ffn": {"no_op": True}},
        {"attention": {"n_heads_in_group": 4}, "ffn": {"intermediate_size": 32}},
    ]
    searched = {**CONFIG, "num_key_value_heads": None, "intermediate_size": None, "num_hidden_layers": 4}
    found = estimate({**searched, "block_configs": blocks}, "r")
    wide = 3 * 16 * 256  # 2 x 3 x 16 / 3, up to the next 256
    attention = ATTENTION + (16 * 16 * 2 + 2 * 16 * 4) + 16 * 16
    assert found.parameters == attention + 2 * wide + FEED + 4 * 2 * 16 + VOCABULARY
    keys = [part for part in found.parts if part.last == "k_proj"]
    assert [(part.shape[1], part.layers) for part in keys] == [(8, (0,)), (4, (3,))]


def test_layers_with_a_state_in_place_of_keys_and_narrowed_experts_are_counted() -> None:
    linear = {"kda_layers": [1], "num_heads": 2, "head_dim": 8, "short_conv_kernel_size": 4}
    kimi = {**CONFIG, "linear_attn_config": linear, "num_experts": 4, "moe_intermediate_size": 8}
    found = estimate({**kimi, "routed_expert_hidden_size": 6}, "r")
    delta = 5 * 16 * 16 + 4 * 3 * 16 + 2
    mixture = 16 * 4 + 4 * 3 * 8 * 6 + 2 * 16 * 6
    assert found.parameters == ATTENTION + delta + 2 * mixture + 2 * 2 * 16 + VOCABULARY
    full, state = layer_caches(found)
    assert (full.kind, full.layers) == ("full", 1)
    assert (state.kind, state.layers, state.recurrent) == ("state", 1, 2 * 8 * 8)
