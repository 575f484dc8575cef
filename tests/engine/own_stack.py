"""The stack that Python starts, once for the whole run, with an engine of the type that is not served."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gateway.client import ModelManager
from gateway.config.settings import DEMO_BASE
from launch.machine.hardware import has_slow_bfloat16
from tests.support.real_stack import ROOT

SMALL: dict[str, Any] = {"max_model_len": 2048, "max_num_seqs": 32, "enforce_eager": True, "kv_cache_gib": 1}
STATE = Path(".state/python")


@dataclass(frozen=True)
class OwnStack:
    manager: ModelManager
    adapters: list[str]
    """As they were listed when it was ready."""
    state: Path

    @property
    def engine_url(self) -> str:
        found = re.search(r'"url": ?"([^"]+)"', (self.state / "engine.json").read_text())
        assert found is not None
        return found[1]

    @property
    def engine_key(self) -> str:
        return (self.state / "engine.key").read_text()


def other_type(served: str) -> str:
    if served == "auto":
        served = "float32" if has_slow_bfloat16() else "bfloat16"
    return {"float32": "bfloat16", "bfloat16": "float32"}[served]


async def configured(model_manager: ModelManager, dtype: str) -> list[str]:
    """The quick reference's call; the last line is for a small machine without a card."""
    adapters = ROOT / "configs/demo/adapters"
    await model_manager.configure_models(
        base_model_path=DEMO_BASE,
        concept_adapter_path=adapters / "concept",
        naming_adapter_path=adapters / "naming",
        relationship_adapter_path=adapters / "relationship",
        auto_unload=False,
        gpu_memory_utilization=0.75,
        tensor_parallel_size=1,
        dtype=dtype,
        **SMALL,
    )
    async with model_manager.use_model("base") as base:
        assert await base.generate_text("The capital of France is", max_tokens=2)
        return await base.list_adapters()


@pytest.fixture(scope="session")
def own_stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnStack]:
    """Whoever is last closes it; it is closed at the end of the run in any case."""
    folder = tmp_path_factory.mktemp("own")
    manager = ModelManager()
    try:
        with chdir(folder):  # its state is below the folder that Python was started in
            dtype = other_type(request.config.getoption("--dtype"))
            listed = asyncio.run(configured(manager, dtype))
        yield OwnStack(manager, listed, folder / STATE)
    finally:
        manager.close()
