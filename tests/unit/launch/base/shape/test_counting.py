"""Bases of every family: parameters, key-value bytes and weights, counted and never refused.

`bases.jsonl` holds public config.json files, without what memory does not depend on. Parameters were counted
by building the models; key-value bytes are those of vLLM's specifications in the model's own type, and
`weights` the size of the published files in bytes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gateway.config.document import Config
from launch.base.memory import cache, default_block_size, kv_bytes_per_token, slot_bytes, weight_bytes
from launch.base.shape import counting
from launch.base.shape.counting import skeletons_of
from launch.base.shape.kv_layout import Storing, lay_out
from launch.base.shape.model_shape import ModelShape, shape_of
from launch.base.shape.skeleton import Skeleton
from launch.bench.cli import build_bench_app
from launch.bench.results.bases import BaseFacts, plan_base, verdict
from launch.planning.device_memory import DeviceMemory, named_card
from launch.planning.findings import errors
from launch.planning.inputs import Asked
from launch.planning.plan import MemoryPlan
from launch.planning.planner import plan_of
from tests.unit.launch.base.shape.conftest import ALLOCATED, MIXTURE, NEW, ROWS, SIZES

CARD = named_card("100000GiB")


USUAL = named_card("80GB")


@pytest.fixture(scope="module")
def shapes(skeletons: dict[str, Skeleton]) -> dict[str, ModelShape]:
    return {name: shape_of(row["config"], skeletons[name]) for name, row in ROWS.items()}


def planned(folder: Path, config: dict[str, Any], card: DeviceMemory = CARD, **base: object) -> MemoryPlan:
    file = folder / "config.json"
    file.write_text(json.dumps(config))
    return plan_of(Config.model_validate({"base": {"model": str(file), **base}}), card, Asked())


@pytest.mark.parametrize("name", ROWS)
def test_parameters_are_within_two_per_cent(name: str, shapes: dict[str, ModelShape]) -> None:
    assert shapes[name].exact, shapes[name].reason
    assert shapes[name].parameters == pytest.approx(ROWS[name]["parameters"], rel=0.02)


def test_base_that_transformers_saved_anew_is_the_same(skeletons: dict[str, Skeleton]) -> None:
    assert skeletons["saved"].exact, skeletons["saved"].reason
    assert skeletons["saved"].parts == skeletons["granite-4.0-h-small"].parts


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row["kv"] is not None])
def test_key_value_bytes_are_exact(name: str, shapes: dict[str, ModelShape]) -> None:
    assert kv_bytes_per_token(shapes[name], "auto", "bfloat16") == ROWS[name]["kv"]


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if "weights" in row])
def test_weights_are_within_five_per_cent_of_the_files(name: str, shapes: dict[str, ModelShape]) -> None:
    size = weight_bytes(shapes[name], "bfloat16", shapes[name].quantization)
    assert size == pytest.approx(ROWS[name]["weights"], rel=0.05)


@pytest.mark.parametrize("name", ROWS)
def test_no_base_is_refused(name: str, skeletons: dict[str, Skeleton], tmp_path: Path) -> None:
    plan = planned(tmp_path, ROWS[name]["config"])
    assert not errors(plan.findings)
    assert plan.rows[0].size_bytes > 0
    assert plan.slot_bytes > 0


@pytest.mark.parametrize("kind", ALLOCATED)
def test_slots_and_cache_are_what_vllm_allocates(kind: str, skeletons: dict[str, Skeleton]) -> None:
    more, lora, blocks, requests = ALLOCATED[kind]
    shape = shape_of({**SIZES, **more}, skeletons[kind])
    assert 3 * slot_bytes(shape, 16, "bfloat16") == lora
    size = default_block_size(shape, gpu=False)
    layout = lay_out(shape.caches, Storing(2, "auto", size, 2048, float32_states=True))
    found = cache(64 * 1024**2, layout, size, 16384)
    assert found.blocks == blocks
    assert found.concurrency(16384) == pytest.approx(requests, abs=1e-9)


def test_a_window_does_not_need_the_whole_context(tmp_path: Path) -> None:
    config = {**SIZES, "model_type": "mistral", "num_hidden_layers": 2, "sliding_window": 1024}
    long = planned(tmp_path, config, USUAL, max_model_len=32768).cache
    every = planned(tmp_path, {**config, "sliding_window": None}, USUAL, max_model_len=32768).cache
    assert every.layout.request_blocks(32768) == 32768 // 16
    kept = 1024 - 1 + 2 * 8192  # two batches are in flight
    assert long.layout.request_blocks(32768) == -(-kept // 16) + 1
    assert long.longest > every.longest


@pytest.mark.usefixtures("skeletons")
def test_an_unknown_family_is_estimated_and_says_so(tmp_path: Path) -> None:
    plan = planned(tmp_path, MIXTURE)
    assert not errors(plan.findings)
    [warning] = [
        found.text for found in plan.findings if found.level == "warning" and found.key == "base.model"
    ]
    assert "cannot be counted" in warning
    assert "remote_moe" in warning
    each = 4 * 1024 * 1024 + 3 * 1024 * 4096
    assert plan.inputs.weights.parameters == pytest.approx(4 * each + 2 * 32000 * 1024, rel=0.001)
    assert plan.cache.bytes_per_token == 4 * 2 * 1024 * 2


@pytest.mark.usefixtures("skeletons")
def test_a_base_of_which_nothing_is_known_is_planned_with_the_rest(tmp_path: Path) -> None:
    plan = planned(tmp_path, NEW)
    assert not errors(plan.findings)
    assert any("its size is not known" in found.text for found in plan.findings)


def test_without_transformers_a_plan_is_made_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LORA_GATEWAY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(counting, "_transformers", lambda: None)
    plan = planned(tmp_path, ROWS["Mixtral-8x22B-v0.1"]["config"])
    assert not errors(plan.findings)
    assert any("transformers is not installed here" in found.text for found in plan.findings)
    assert plan.inputs.weights.parameters == pytest.approx(140620634112, rel=0.02)


def test_what_was_counted_is_kept_and_a_plain_family_needs_no_counting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(configs: object) -> list[counting.Config]:
        raise AssertionError("a process was started")

    config = ROWS["gpt2"]["config"]
    monkeypatch.setenv("LORA_GATEWAY_CACHE", str(tmp_path))
    monkeypatch.setattr(counting, "_count", lambda configs: [COUNTED for _ in configs])
    first = skeletons_of([config])
    monkeypatch.setattr(counting, "_count", refuse)
    assert skeletons_of([config]) == first
    assert skeletons_of([{**SIZES, "model_type": "llama", "num_hidden_layers": 2}])[0].exact


def test_what_is_kept_may_be_read_by_others_who_have_the_same_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LORA_GATEWAY_CACHE", str(tmp_path))
    monkeypatch.setattr(counting, "_count", lambda configs: [COUNTED for _ in configs])
    skeletons_of([ROWS["gpt2"]["config"]])
    (beside := tmp_path / "beside").touch()
    (kept,) = (tmp_path / "skeletons").iterdir()
    assert kept.stat().st_mode == beside.stat().st_mode


def test_that_a_family_cannot_be_counted_is_kept_and_that_nobody_could_be_asked_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[counting.Config] = []

    def answer(said: counting.Config) -> None:
        def count(configs: Sequence[counting.Config]) -> list[counting.Config]:
            asked.extend(configs)
            return [said for _ in configs]

        monkeypatch.setattr(counting, "_count", count)

    monkeypatch.setenv("LORA_GATEWAY_CACHE", str(tmp_path))
    answer({"error": "too busy"})
    assert [skeletons_of([MIXTURE])[0].reason for _ in range(2)] == ["too busy"] * 2
    answer({"error": "KeyError: 'not known'"})
    assert [skeletons_of([MIXTURE])[0].reason for _ in range(2)] == ["KeyError: 'not known'"] * 2
    assert len(asked) == 3


COUNTED: dict[str, object] = {
    "settings": {"hidden_size": 8},
    "parts": [{"name": "wte", "kind": "embedding", "shape": [10, 8], "layers": None}],
    "counted_by": "a test",
}


def test_the_older_file_of_a_quantization_counts(tmp_path: Path) -> None:
    config = {**SIZES, "model_type": "llama", "num_hidden_layers": 2}
    plain = planned(tmp_path, config)
    older = {
        "producer": {"name": "modelopt"},
        "quantization": {"quant_algo": "FP8", "kv_cache_quant_algo": "FP8"},
    }
    (tmp_path / "hf_quant_config.json").write_text(json.dumps(older))
    small = planned(tmp_path, config)
    assert small.rows[0].size_bytes < plain.rows[0].size_bytes
    assert 2 * small.cache.bytes_per_token == plain.cache.bytes_per_token


def test_bench_prints_what_is_planned_beside_what_is_true(
    skeletons: dict[str, Skeleton], tmp_path: Path
) -> None:
    for name in ("gpt2", "gemma-2-9b-it"):
        (tmp_path / f"{name}.json").write_text(json.dumps(ROWS[name]["config"]))
    truth = tmp_path / "truth.json"
    rows = [{"base": "gpt2", "parameters": 124439808}, {"base": "gemma-2-9b-it", "parameters": 9_000_000_000}]
    truth.write_text(json.dumps(rows))
    result = CliRunner().invoke(build_bench_app(), ["bases", str(tmp_path), "--truth", str(truth)])
    assert result.exit_code == 0, result.output
    assert "1 exact, 1 within 5 %" in result.output
    (tmp_path / "bad.json").write_text("{}")
    result = CliRunner().invoke(build_bench_app(), ["bases", str(tmp_path), "--truth", str(truth)])
    assert result.exit_code == 1
    assert "1 refused" in result.output
    assert verdict(plan_base(tmp_path / "gpt2.json"), BaseFacts(100_000_000)) == "off by more"
