"""The stack that Python starts, once for the whole run, with an engine of the type that is not served."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gateway.client import ModelManager
from gateway.config.settings import DEMO_BASE
from launch.machine.hardware import has_slow_bfloat16
from tests.support.real.real_stack import ROOT, engine_key, engine_url

SMALL: dict[str, Any] = {"max_model_len": 2048, "max_num_seqs": 32, "enforce_eager": True, "kv_cache_gib": 1}


@dataclass(frozen=True)
class OwnStack:
    manager: ModelManager
    adapters: list[str]
    """As they were listed when it was ready."""
    state: Path

    @property
    def engine_url(self) -> str:
        return engine_url(self.state)

    @property
    def engine_key(self) -> str:
        return engine_key(self.state)


def other_type(served: str) -> str:
    if served == "auto":
        served = "float32" if has_slow_bfloat16() else "bfloat16"
    return {"float32": "bfloat16", "bfloat16": "float32"}[served]


async def configured(model_manager: ModelManager, dtype: str, state: Path) -> list[str]:
    """The quick reference's call; the last lines are for a small machine without a card."""
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
        state_dir=state,
        **SMALL,
    )
    async with model_manager.use_model("base") as base:
        assert await base.generate_text("The capital of France is", max_tokens=2)
        return await base.list_adapters()


@pytest.fixture(scope="session")
def own_start(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Future[OwnStack]]:
    """Under way from now on. A start is imports on one core for the most part: the other has room for one."""
    state, manager = tmp_path_factory.mktemp("own"), ModelManager()
    dtype = other_type(request.config.getoption("--dtype"))

    def start() -> OwnStack:
        return OwnStack(manager, asyncio.run(configured(manager, dtype, state)), state)

    with ThreadPoolExecutor(1) as threads:
        starting = threads.submit(start)
        yield starting
        with suppress(Exception):  # whoever wanted it has heard of it
            starting.result()
        manager.close()


@pytest.fixture(scope="session")
def own_stack(own_start: Future[OwnStack]) -> OwnStack:
    """Whoever is last closes it; it is closed at the end of the run in any case."""
    return own_start.result()
