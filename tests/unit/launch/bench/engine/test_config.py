"""The configuration that a benchmark serves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateway.config.document import Config, load_config
from gateway.errors import ConfigError
from launch.bench.engine.config import (
    document_of,
    environment_of,
    extra_tasks,
    load_given,
    placeholders,
    under_test,
    write_config,
)
from launch.bench.pipeline.inputs import held_to, two_stages

ROOT = Path(__file__).parents[5]


DEMO = ROOT / "configs/demo/config.yaml"


LARGE = ROOT / "configs/qwen2.5-14b.yaml"


def demo_config() -> Config:
    return load_config(DEMO, {})


def test_the_configuration_under_test_reads_back_as_it_was_meant(tmp_path: Path) -> None:
    given = demo_config()
    adapters = {name: tmp_path / name for name in ("concept", "naming", "bench-1")}
    held = held_to(two_stages(given, "concept-naming"), given, 3)
    meant = under_test(
        given, adapters, state_dir=tmp_path, gateway_port=8190, pipelines={held.name: held.pipeline}
    )
    write_config(meant, tmp_path / "config.yaml", "a key")
    read = load_config(tmp_path / "config.yaml", {})
    assert read.model_copy(update={"keys": None}) == meant.model_copy(update={"keys": None})
    assert [read.engine.port, read.gateway.port] == [8140, 8190]
    assert read.tasks["naming"].system == "Name the concept."


def test_the_key_is_written_as_a_digest_only() -> None:
    assert "a key" not in json.dumps(document_of(demo_config(), "a key"))


def test_no_adapter_of_the_shell_wins_over_the_benchmarks_own(tmp_path: Path) -> None:
    meant = under_test(
        demo_config(),
        {"naming": tmp_path / "made", "bench-1": tmp_path / "b"},
        state_dir=tmp_path,
        gateway_port=1,
    )
    env = environment_of(meant, {"NAMING_ADAPTER_PATH": "/other", "ODD_ADAPTER_PATH": "/odd", "HOME": "/h"})
    assert env == {
        "HOME": "/h",
        "NAMING_ADAPTER_PATH": str(tmp_path / "made"),
        "BENCH_1_ADAPTER_PATH": str(tmp_path / "b"),
    }


def test_with_dummy_weights_an_adapter_that_is_not_set_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("CONCEPT", "NAMING", "RELATIONSHIP", "ATTRIBUTE"):
        monkeypatch.delenv(f"{name}_ADAPTER_PATH", raising=False)
    with pytest.raises(ConfigError, match="_ADAPTER_PATH"):
        load_given(LARGE, dummy=False, placeholder=tmp_path)
    config = load_given(LARGE, dummy=True, placeholder=tmp_path)
    assert list(config.tasks) == ["concept", "naming", "relationship", "attribute"]
    assert extra_tasks(config, 4) == []
    assert extra_tasks(demo_config(), 4) == ["bench-1", "bench-2"]


def test_only_adapters_get_a_placeholder() -> None:
    text = "a: ${X_ADAPTER_PATH}\nb: ${Y_ADAPTER_PATH:-here}\nc: ${OTHER}"
    assert placeholders(text, Path("/p")) == {"X_ADAPTER_PATH": "/p"}
