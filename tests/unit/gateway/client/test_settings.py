"""What `configure_models` takes, as a configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.client.concepts import PIPELINE, pipeline
from gateway.client.errors import InvalidArgument
from gateway.client.settings import CONTRACTS, Start, wanted
from gateway.config.document import load_config
from tests.unit.gateway.client.test_transport import ROOT

pytestmark = pytest.mark.usefixtures("named_gateway")


def test_built_in_contracts_and_pipeline_are_those_of_the_deployment() -> None:
    env = {f"{name}_ADAPTER_PATH": "/a" for name in ("CONCEPT", "NAMING", "RELATIONSHIP", "ATTRIBUTE")}
    deployed = load_config(ROOT / "configs/qwen2.5-14b.yaml", env)
    for name, contract in CONTRACTS.items():
        assert deployed.tasks[name].system == contract["system"]
    document = {"base": {"model": "m"}, "tasks": {name: {"adapter": "/a"} for name in CONTRACTS}}
    own = type(deployed).model_validate(document | {"pipelines": {PIPELINE: pipeline()}})
    assert own.pipelines[PIPELINE] == deployed.pipelines[PIPELINE]


def test_paths_of_the_quick_reference_make_its_configuration(tmp_path: Path) -> None:
    names = ("concept", "naming", "relationship")
    paths: dict[str, Any] = {f"{name}_adapter_path": tmp_path for name in names}
    settings: dict[str, Any] = {"gpu_memory_utilization": 0.75, "tensor_parallel_size": 1}
    base = "Qwen/Qwen2.5-14B-Instruct"
    start = wanted({}, base_model_path=base, auto_unload=False, **paths, **settings)
    assert isinstance(start, Start)
    assert start.document["base"] == {"model": base, "idle_unload": "never", **settings}
    assert [*start.document["tasks"]] == [*names]
    assert [*start.document["pipelines"]] == [PIPELINE]
    unloading = wanted({}, base_model_path=base, auto_unload=True)
    assert isinstance(unloading, Start)
    assert unloading.document["base"]["idle_unload"] == "15m"


def test_home_that_is_nobodys_is_told_as_any_place_where_nothing_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidArgument, match=r"base_model_path: ~nosuch/x does not exist; give a folder"):
        wanted({}, base_model_path="~nosuch/x")
    with pytest.raises(InvalidArgument, match=r"naming_adapter_path: .*~nosuch/x does not exist; give"):
        wanted({}, base_model_path="a/b", naming_adapter_path="~nosuch/x")
    start = wanted({}, base_model_path="a/b", state_dir="~nosuch/x")
    assert isinstance(start, Start)
    assert start.state_dir == tmp_path / "~nosuch" / "x"  # as the command line has it
