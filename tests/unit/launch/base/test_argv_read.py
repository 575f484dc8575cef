"""The engine's command line read back: the last word counts, and vLLM's defaults fill the rest."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.errors import ConfigError
from launch.base.argv_read import options_of, quantization_of, read_settings
from launch.base.shape.model_shape import ModelShape, shape_of
from launch.base.shape.plain_decoder import plain_decoder
from tests.support.adapter_folders import LAYOUT

CONFIG = {**LAYOUT, "vocab_size": 48, "max_position_embeddings": 512, "torch_dtype": "float32"}
SHAPE: ModelShape = shape_of(CONFIG, plain_decoder(CONFIG))


def test_options_in_every_spelling() -> None:
    assert options_of(["serve", "--a-b", "1", "--c_d=2", "--flag", "--a-b", "3", "rest"]) == {
        "a-b": "3",
        "c-d": "2",
        "flag": "",
    }


def test_short_names_and_flags_that_are_taken_back() -> None:
    assert options_of(["-tp", "2", "-q", "fp8"]) == {"tensor-parallel-size": "2", "quantization": "fp8"}
    argv = ["--enforce-eager", "--no-enforce-eager"]
    assert not read_settings(argv, SHAPE, gpu=False, card_bytes=0).eager
    assert read_settings(argv[::-1], SHAPE, gpu=False, card_bytes=0).eager


@pytest.mark.parametrize(
    ("written", "tokens"), [("16k", 16_000), ("16K", 16_384), ("1.5k", 1_500), ("1M", 2**20), ("-1", 512)]
)
def test_lengths_are_read_as_vllm_reads_them(written: str, tokens: int) -> None:
    engine = read_settings(["--max-model-len", written], SHAPE, gpu=False, card_bytes=0)
    assert engine.max_model_len == tokens


def test_what_is_asked_counts_and_defaults_are_vllms() -> None:
    engine = read_settings(
        ["--max-model-len", "256", "--max-loras=4", "--enforce-eager"], SHAPE, gpu=False, card_bytes=0
    )
    assert (engine.max_model_len, engine.slots, engine.rank, engine.eager) == (256, 4, 16, True)
    assert engine.adapters_in_memory == 4
    assert engine.dtype == "bfloat16"  # `auto` halves what is stored in full
    assert read_settings([], SHAPE, gpu=False, card_bytes=0).max_model_len == 512
    assert read_settings(["--dtype", "float32"], SHAPE, gpu=False, card_bytes=0).dtype == "float32"


def test_processes_of_the_cpu_add_up() -> None:
    one = read_settings([], SHAPE, gpu=False, card_bytes=0)
    two = read_settings(["--tensor-parallel-size", "2"], SHAPE, gpu=False, card_bytes=0)
    assert (two.max_num_seqs, two.max_batched_tokens) == (2 * one.max_num_seqs, 2 * one.max_batched_tokens)


def test_number_that_is_none_names_the_option() -> None:
    for word in ("many", "k", "nan", "inf"):
        with pytest.raises(ConfigError, match=f"--max-loras {word}"):
            read_settings(["--max-loras", word], SHAPE, gpu=False, card_bytes=0)
    assert read_settings(["--max-model-len", "auto"], SHAPE, gpu=False, card_bytes=0).max_model_len == 512


def test_quantization_is_the_bases_own_or_what_is_asked_for_a_plain_one() -> None:
    assert quantization_of([], SHAPE) is None
    asked = quantization_of(["--quantization", "fp8"], SHAPE)
    assert asked is not None
    stored = replace(SHAPE, quantization=asked)
    assert quantization_of(["--quantization", "awq"], stored) is asked


def test_checkpoint_may_name_its_caches_type() -> None:
    named = replace(SHAPE, cache_dtype="fp8")
    assert read_settings([], named, gpu=True, card_bytes=2**36).kv_dtype == "fp8"
    given = read_settings(["--kv-cache-dtype", "bfloat16"], named, gpu=True, card_bytes=2**36)
    assert given.kv_dtype == "bfloat16"
