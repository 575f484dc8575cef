"""What memory will be taken up with, as the page shows it."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from launch.planning.planner import plan_of
from launch.planning.shares import planned_shares, shares_of
from tests.fakes.fake_stack import fake_config
from tests.unit.launch.planning.test_inputs import CARD, config


def test_shares_are_the_plans_rows_and_add_up_to_what_the_engine_takes(tmp_path: Path) -> None:
    plan = plan_of(config(tmp_path, "naming"), CARD)
    shares = shares_of(plan)
    sizes = {part.name: part.size_bytes for part in shares.parts}
    assert {"base weights", "LoRA slots", "key-value cache"} <= sizes.keys()
    assert "adapters" not in sizes
    assert sum(sizes.values()) <= plan.budget_bytes <= shares.total_bytes - shares.headroom_bytes
    assert shares.gpu


def test_nothing_is_planned_for_servers_of_somebody_else(tmp_path: Path) -> None:
    attached = fake_config(tmp_path).model_copy(update={"engines": [object()]})
    assert planned_shares(attached) is None


def test_a_base_that_cannot_be_planned_is_said_and_is_no_failure(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    without_tensors = fake_config(tmp_path)
    with caplog.at_level(logging.WARNING):
        assert planned_shares(without_tensors) is None
    assert "is not known" in caplog.text
