"""A base as memory sees it, from its config.json."""

from __future__ import annotations

import pytest

from gateway.errors import ConfigError
from launch.base.shape.model_shape import ModelShape, dtype_bytes, shape_of
from launch.base.shape.plain_decoder import plain_decoder
from tests.support.adapter_folders import LAYOUT

CONFIG = {**LAYOUT, "vocab_size": 48, "max_position_embeddings": 512}


def shape(**changes: object) -> ModelShape:
    config = {**CONFIG, **changes}
    return shape_of(config, plain_decoder(config))


def test_sizes_of_a_small_llama() -> None:
    found = shape(torch_dtype="bfloat16")
    assert (found.hidden, found.inner, found.heads, found.vocabulary) == (16, 32, 4, 48)
    assert (found.max_positions, found.context_known, found.dtype) == (512, True, "bfloat16")
    assert found.vocabulary_parameters == 2 * 48 * 16
    matrices = sum(one.elements * one.layers for one in found.matrices)
    assert matrices + found.vocabulary_parameters + found.plain_parameters == found.parameters
    assert found.vocabulary_lora  # LoRA reaches llama's vocabulary
    assert not shape(model_type="mistral").vocabulary_lora


def test_matrices_are_cut_as_vllm_cuts_them() -> None:
    splits = {one.part.last: (one.split, one.heads) for one in shape().matrices}
    assert splits["q_proj"] == ("outputs", 0)
    assert splits["o_proj"] == splits["down_proj"] == ("inputs", 0)
    assert splits["k_proj"] == ("outputs", 2)


@pytest.mark.parametrize(
    ("changes", "context"),
    [
        ({"max_position_embeddings": None}, 2048),
        ({"n_positions": 128}, 128),  # the least of the names
        ({"rope_scaling": {"rope_type": "linear", "factor": 4}}, 2048),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 4}}, 512),
        ({"rope_scaling": {"type": "dynamic", "factor": 2.0}}, 1024),
    ],
)
def test_context_is_vllms(changes: dict[str, object], context: int) -> None:
    assert shape(**changes).max_positions == context


def test_type_where_nothing_is_said_is_float32() -> None:
    assert shape().dtype == "float32"
    assert shape(torch_dtype="torch.float16").dtype == "float16"
    assert shape(dtype=None, torch_dtype="float16").dtype == "float16"
    assert [dtype_bytes(one) for one in ("float32", "bfloat16", "unheard_of")] == [4, 2, 2]


def test_what_is_no_decoder_is_refused() -> None:
    with pytest.raises(ConfigError, match="is it a decoder's"):
        shape_of({"model_type": "x"}, plain_decoder(CONFIG))
