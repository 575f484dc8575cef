"""What a plan recommends, and each way out where it does not fit."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest

from launch.adapters.settings import ENGINE_RANKS
from launch.machine.memory import GIB
from launch.planning.device_memory import DeviceMemory, named_card
from launch.planning.findings import errors
from tests.unit.launch.planning.test_plan import CARD_48, planned, texts

MACHINE = DeviceMemory(False, "main memory", 24 * GIB, 20 * GIB, "a test")


@pytest.mark.parametrize("rank", [1, 5, 8, 9, 33, 100, 257, 400])
def test_recommended_rank_is_the_smallest_of_vllms_list(rank: int) -> None:
    found = planned(rank=rank, max_lora_rank=512).recommended["max_lora_rank"]
    assert found == min(known for known in ENGINE_RANKS if known >= rank)


def test_too_large_a_rank_names_the_key_and_what_it_frees() -> None:
    plan = planned(max_lora_rank=64, max_model_len=4096)
    assert any("base.max_lora_rank: 64: no adapter is over 16" in text for text in texts(plan, "warning"))


def test_too_large_a_base_names_every_way_out() -> None:
    [error] = texts(planned(named_card("24GB"), max_model_len=8192), "error")
    assert error.startswith("base.gpu_memory_utilization: one request of 8,192 tokens does not fit")
    assert "raise base.tensor_parallel_size from 1 to 2" in error
    assert "quantized to 4 bit (AWQ, GPTQ), about 10.0 GB" in error


def test_each_mend_of_a_long_context_makes_it_fit() -> None:
    asked: dict[str, Any] = {"gpu_memory_utilization": 0.75, "max_model_len": 32768, "max_num_seqs": 256}
    [error] = texts(planned(**asked), "error")
    mends = re.findall(r"(?:raise|lower) base\.(\w+) from \S+ to ([\d.]+)", error)
    assert {"gpu_memory_utilization", "max_model_len"} <= {key for key, _ in mends}
    for key, value in mends:
        number = float(value) if "." in value else int(value)
        assert not errors(planned(**{**asked, key: number}).findings), key


def test_a_card_that_others_use_is_an_error_with_a_lower_share() -> None:
    shared = dataclasses.replace(CARD_48, free_bytes=int(5.89 * GIB))
    found = texts(planned(shared, gpu_memory_utilization=0.75, max_model_len=8192), "error")
    assert any("asks for 35.64 GiB, 5.39 GiB" in text and "lower it to 0.11" in text for text in found)


def test_no_headroom_is_a_warning_with_the_difference() -> None:
    [warning] = texts(planned(gpu_memory_utilization=0.97, max_model_len=8192), "warning")
    assert "leaves 3% of the card" in warning
    assert "lower it by 0.07 to 0.9" in warning


def test_main_memory_that_is_too_small_names_the_cache() -> None:
    base: dict[str, Any] = {"model": "HuggingFaceTB/SmolLM2-135M-Instruct", "max_model_len": 2048}
    roomy = planned(MACHINE, kv_cache_gib=1, **base)
    assert roomy.cache.tokens == 46592
    assert not errors(roomy.findings)
    full = planned(dataclasses.replace(MACHINE, free_bytes=3 * GIB), kv_cache_gib=2, **base)
    assert any("base.kv_cache_gib: 2: the engine needs" in text for text in texts(full, "error"))
    tight = planned(MACHINE, kv_cache_gib=0.01, **base)
    [error] = texts(tight, "error")
    match = re.search(r"raise it to ([\d.]+)", error)
    assert match is not None
    assert not errors(planned(MACHINE, kv_cache_gib=float(match[1]), **base).findings)


@pytest.mark.parametrize("missing_gib", [0.001, 0.004, 0.5])
def test_a_cache_that_is_lowered_as_it_is_said_fits(missing_gib: float) -> None:
    base: dict[str, Any] = {"model": "HuggingFaceTB/SmolLM2-135M-Instruct", "max_model_len": 2048}
    needed = planned(MACHINE, kv_cache_gib=2, **base).budget_bytes
    short = dataclasses.replace(MACHINE, free_bytes=needed - int(missing_gib * GIB))
    [error] = texts(planned(short, kv_cache_gib=2, **base), "error")
    match = re.search(r"lower it by ([\d.]+)", error)
    assert match is not None
    assert not errors(planned(short, kv_cache_gib=2 - float(match[1]), **base).findings)


def test_headroom_that_the_whole_cache_would_not_make_is_not_asked_of_it() -> None:
    base: dict[str, Any] = {"model": "HuggingFaceTB/SmolLM2-135M-Instruct", "max_model_len": 2048}
    needed = planned(MACHINE, kv_cache_gib=0.1, **base).budget_bytes
    tight = dataclasses.replace(MACHINE, free_bytes=needed + GIB // 10)
    [warning] = texts(planned(tight, kv_cache_gib=0.1, **base), "warning")
    assert warning.endswith("keep 10 to 15 %; take a smaller base or a larger machine")


def test_slots_that_main_memory_has_no_room_for_are_to_be_fewer() -> None:
    base: dict[str, Any] = {"model": "HuggingFaceTB/SmolLM2-135M-Instruct", "max_model_len": 2048}
    [error] = texts(planned(MACHINE, kv_cache_gib=1, max_loras=10**12, **base), "error")
    match = re.search(r"base\.max_loras: 1000000000000: the engine needs .*; lower it to (\d+)", error)
    assert match is not None
    assert not errors(planned(MACHINE, kv_cache_gib=1, max_loras=int(match[1]), **base).findings)
