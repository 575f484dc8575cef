"""How long a list is expected to be."""

from __future__ import annotations

import pytest

from gateway.pipeline.fan_outs import FIRST_GUESS, FanOuts
from tests.support.pipeline_script import demo

pytestmark = pytest.mark.anyio


def test_a_list_is_expected_to_be_as_long_as_before() -> None:
    pipeline, fan_outs = demo(), FanOuts()
    tasks = {stage.task for stage in pipeline.stages}
    (fan,) = pipeline.fans
    assert fan_outs.expected(pipeline, tasks) == {"concept": 1, "naming": FIRST_GUESS}
    assert fan_outs.expected(pipeline, {"concept"}) == {"concept": 1}
    fan_outs.saw(pipeline, fan, 40)
    assert fan_outs.expected(pipeline, tasks)["naming"] == 40
    fan_outs.saw(pipeline, fan, 0)
    assert fan_outs.expected(pipeline, tasks)["naming"] == 35
    fan_outs.saw(pipeline, fan, 10_000)
    assert fan_outs.expected(pipeline, tasks)["naming"] == pipeline.max_items
