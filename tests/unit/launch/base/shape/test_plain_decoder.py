"""A decoder's parts by arithmetic, added up by hand."""

from __future__ import annotations

import pytest

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
