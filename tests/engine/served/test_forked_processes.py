"""An engine's core and workers on a CPU are forked from one process that has imported vLLM."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from launch.engine.vllm_plugin.processes.fork_server import TITLE
from launch.planning.device_memory import detect
from tests.engine.conftest import RealStack

pytestmark = pytest.mark.engine


def children(pid: int) -> dict[str, int]:
    """By their titles."""
    pids = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return {Path(f"/proc/{pid}/cmdline").read_text().strip("\0 "): int(pid) for pid in pids}


def test_core_and_worker_are_forked_from_one_import(real: RealStack) -> None:
    if detect().gpu:
        pytest.skip("on a GPU they are spawned or forked as vLLM does it")
    engine = int(json.loads((real.state / "engine-0.pid").read_text())["pid"])
    assert {*children(children(engine)[TITLE])} == {"VLLM::EngineCore", "VLLM::Worker"}
