"""What a base's modules are, without its weights."""

from __future__ import annotations

import pytest

from launch.base.memory import kv_bytes_per_token
from launch.base.shape.model_shape import shape_of
from launch.base.shape.skeleton import Skeleton, text_part
from tests.unit.launch.base.shape.conftest import SHARED


def test_a_block_that_stands_in_many_layers_has_a_cache_in_each(skeletons: dict[str, Skeleton]) -> None:
    blocks = skeletons["shared"].settings["layers_block_type"]
    assert isinstance(blocks, list)
    [attention] = [cache for cache in shape_of(SHARED, skeletons["shared"]).caches if cache.kind == "full"]
    assert attention.layers == blocks.count("hybrid") > 1


def test_a_tower_is_not_part_of_the_text_model(skeletons: dict[str, Skeleton]) -> None:
    hears = {"model_type": "phi4_multimodal", "architectures": ["Phi4"], "torch_dtype": "bfloat16"}
    shape = shape_of(hears, skeletons["hears"])
    assert kv_bytes_per_token(shape, "auto", "bfloat16") == 32 * 2 * 8 * 96 * 2
    layer = 3072 * (3072 + 2 * 768) + 3072 * 3072 + 3 * 3072 * 8192 + 2 * 3072
    assert shape.parameters == 32 * layer + 3072 + 2 * 200064 * 3072


@pytest.mark.parametrize("key", ["text_config", "llm_config", "language_config", "thinker_config"])
def test_language_model_is_found_in_a_larger_one(key: str) -> None:
    text = {"hidden_size": 8, "num_hidden_layers": 2}
    assert text_part({"model_type": "sees", key: text}) == text
    assert text_part({"model_type": "hears", key: {"text_config": text}}) == text
    assert text_part({"hidden_size": 8, key: text}) == text  # its width beside it, as for its towers
    flat = {**text, "model_type": "flat", key: {"hidden_size": 4}}
    assert text_part(flat) is flat
    assert text_part({"hidden_size": 8, key: {}}) == {"hidden_size": 8, key: {}}
