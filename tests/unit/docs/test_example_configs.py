"""The example configurations hold every key and load."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from gateway.config import settings
from gateway.config.document import load_config
from gateway.config.engine_settings import EngineConfig
from gateway.config.gateway_settings import GatewayConfig
from gateway.config.key_settings import KeyConfig, TenantConfig
from gateway.config.limit_settings import LimitConfig

CONFIGS = Path(__file__).parents[3] / "configs"
EXAMPLE = yaml.safe_load((CONFIGS / "example.yaml").read_text(encoding="utf-8"))
FOUR = ("CONCEPT", "NAMING", "RELATIONSHIP", "ATTRIBUTE")


def keys_of(model: type[BaseModel]) -> set[str]:
    return {field.alias or name for name, field in model.model_fields.items()}


@pytest.mark.parametrize(
    ("model", "found"),
    [
        (settings.Config, EXAMPLE),
        (settings.BaseConfig, EXAMPLE["base"]),
        (settings.TaskConfig, EXAMPLE["tasks"]["concept"]),
        (settings.FallbackConfig, EXAMPLE["tasks"]["concept"]["fallback"]),
        (settings.PipelineConfig, EXAMPLE["pipelines"]["concept-naming"]),
        (
            settings.StageConfig,
            {k: 0 for stage in EXAMPLE["pipelines"]["concept-naming"]["stages"] for k in stage},
        ),
        (KeyConfig, EXAMPLE["keys"]["team-a"]),
        (LimitConfig, EXAMPLE["keys"]["team-a"]["limits"]),
        (TenantConfig, EXAMPLE["tenants"]["acme"]),
        (GatewayConfig, EXAMPLE["gateway"]),
        (EngineConfig, EXAMPLE["engine"]),
        (settings.AdaptersConfig, EXAMPLE["adapters"]),
        (settings.BatchesConfig, EXAMPLE["batches"]),
    ],
)
def test_example_has_every_key(model: type[BaseModel], found: dict[str, object]) -> None:
    assert set(found) == keys_of(model)


@pytest.mark.parametrize("name", ["example.yaml", "demo/config.yaml"])
def test_config_loads_without_environment(name: str) -> None:
    assert set(load_config(CONFIGS / name, {}).tasks) == {"concept", "naming"}


def test_example_shows_the_defaults() -> None:
    example = load_config(CONFIGS / "example.yaml", {})
    assert example.gateway == GatewayConfig.model_validate({})
    assert example.engine == EngineConfig.model_validate({})
    assert example.batches == settings.BatchesConfig.model_validate({})


def test_qwen_is_the_quick_references_deployment() -> None:
    paths = {f"{task}_ADAPTER_PATH": f"/adapters/{task.lower()}" for task in FOUR}
    config = load_config(CONFIGS / "qwen2.5-14b.yaml", paths)
    assert config.base.model == "Qwen/Qwen2.5-14B-Instruct"
    assert (config.base.gpu_memory_utilization, config.base.tensor_parallel_size) == (0.75, 1)
    assert (config.base.max_loras, config.base.idle_unload) == (4, "never")
    assert [str(task.adapter) for task in config.tasks.values()] == list(paths.values())
