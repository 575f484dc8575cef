"""The engine's benchmark, apart from any engine: what it is to run."""

from __future__ import annotations

from pathlib import Path

import pytest

from launch.adapters.check import check_adapter
from launch.base.lora_shapes import Base
from launch.bench.engine.config import (
    load_given,
    under_test,
)
from launch.bench.engine.dummy_adapters import (
    AdapterShape,
    shape_like,
    write_dummy_adapter,
)
from launch.bench.engine.engine import adapter_shape
from launch.engine.argv import engine_command
from tests.unit.launch.bench.engine.test_config import LARGE, demo_config
from tests.unit.launch.bench.engine.test_dummy_adapters import qwen_base, small_base


def test_made_adapters_are_shaped_as_the_trained_one() -> None:
    config, base = demo_config(), small_base()
    trained = shape_like(config.tasks["naming"].adapter)
    assert trained.rank == 16
    assert adapter_shape(config, base, None, dummy=False) == trained
    assert adapter_shape(config, base, 8, dummy=False) == AdapterShape(8, trained.modules)
    assert adapter_shape(config, base, None, dummy=True) == AdapterShape(16, tuple(base.sides))


def test_the_plan_for_a_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command of `bench engine --config configs/qwen2.5-14b.yaml --dummy-weights` on a GPU."""
    monkeypatch.chdir(tmp_path)
    given = load_given(LARGE, dummy=True, placeholder=tmp_path)
    base, adapters = qwen_base(), []
    shape = adapter_shape(given, base, 1, dummy=True)
    one_layer = Base(base.model, base.name, 1, base.sides)  # all 48 would be hundreds of megabytes
    for seed, task in enumerate(given.tasks):
        write_dummy_adapter(tmp_path / task, one_layer, shape, seed)
        adapters.append(check_adapter(task, tmp_path / task, base))
    config = under_test(
        given,
        {one.task: one.path for one in adapters},
        state_dir=tmp_path,
        gateway_port=8190,
        load_format="dummy",
    )
    argv = engine_command(config, base, adapters, 8140, has_gpu=True).argv
    line = " ".join(argv)
    assert "--model Qwen/Qwen2.5-14B-Instruct" in line
    assert "--load-format dummy" in line
    assert "--max-loras 4" in line
    assert "--gpu-memory-utilization 0.75" in line
    assert len({one.id for one in adapters}) == 4
