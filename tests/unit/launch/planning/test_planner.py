"""From a configuration to its plan: adapters that were looked at are not looked at again, faults are kept."""

from __future__ import annotations

from pathlib import Path

from launch.adapters.check import Adapter
from launch.planning.planner import plan_of
from tests.support.adapter_folders import adapter
from tests.unit.launch.planning.test_inputs import CARD, config


def test_findings_of_adapters_come_first_and_the_plan_is_made(tmp_path: Path) -> None:
    folder = adapter(tmp_path / "broken")
    (folder / "adapter_model.safetensors").write_bytes(b"x")
    plan = plan_of(config(tmp_path, "broken"), CARD)
    assert plan.findings[0].key == "tasks.broken.adapter"
    assert plan.cache.tokens > 0


def test_what_was_checked_is_taken_as_it_is(tmp_path: Path) -> None:
    known = {"a": Adapter("a", "a@1", tmp_path / "nowhere", 8, 123)}
    plan = plan_of(config(tmp_path, "a"), CARD, None, known)
    assert [(one.rank, one.size_bytes, one.known) for one in plan.inputs.adapters] == [(8, 123, "header")]
