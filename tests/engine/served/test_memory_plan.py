"""The memory plan, held against what the running engine reports of itself and what the kernel counts."""

from __future__ import annotations

import json
import re
from pathlib import Path

import httpx
import pytest

from gateway.config.document import load_config
from launch.planning.device_memory import detect
from launch.planning.plan import MemoryPlan
from launch.planning.planner import plan_of
from tests.engine.conftest import RealStack

pytestmark = pytest.mark.engine


@pytest.fixture
def plan(real: RealStack) -> MemoryPlan:
    return plan_of(load_config(real.config), detect())


def told(real: RealStack) -> dict[str, str]:
    """The labels of vLLM's `cache_config_info`."""
    text = httpx.get(f"{real.engine_url}/metrics").text
    line = next(line for line in text.splitlines() if line.startswith("vllm:cache_config_info{"))
    return dict(re.findall(r'(\w+)="([^"]*)"', line))


def family(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(each for child in children for each in family(int(child)))]


def resident_bytes(pids: list[int]) -> int:
    """What these processes hold together: their own memory, and the files that they share, which another
    engine on this machine may share too.
    """
    told = [rollup(pid) for pid in pids]
    return sum(one["Pss_Anon"] for one in told) + max(one["Rss"] - one["Anonymous"] for one in told)


def rollup(pid: int) -> dict[str, int]:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return {name: int(kilobytes) * 1024 for name, kilobytes in re.findall(r"^(\w+):\s+(\d+) kB", text, re.M)}


def test_cache_has_the_tokens_and_blocks_that_were_planned(real: RealStack, plan: MemoryPlan) -> None:
    engine = told(real)
    assert int(engine["num_gpu_blocks"]) == plan.cache.blocks
    assert int(engine["block_size"]) == plan.cache.block_size
    assert int(engine["kv_cache_size_tokens"]) == plan.cache.tokens
    context = plan.inputs.engine.max_model_len
    assert float(engine["kv_cache_max_concurrency"]) == pytest.approx(
        plan.cache.concurrency(context), abs=0.01
    )


def test_resident_memory_is_near_what_was_planned(real: RealStack, plan: MemoryPlan) -> None:
    pid = int(json.loads((real.state / "engine-0.pid").read_text())["pid"])
    resident = resident_bytes(family(pid))
    print(f"planned {plan.budget_bytes / 1e6:.0f} MB, resident {resident / 1e6:.0f} MB")
    for row in plan.rows:
        print(f"  {row.name}: {row.size_bytes / 1e6:.1f} MB ({row.known})")
    assert resident == pytest.approx(plan.budget_bytes, rel=0.15)
