"""What each stage of one request took: tokens, calls, and time from the first call to the last one's end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gateway.http.event_stream import TokenUsage
from gateway.pipeline.compile import compile_pipelines
from gateway.pipeline.stages.task_calls import Answer
from gateway.pipeline.usage import Tally
from tests.support.stack import config_of


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_calls_of_a_stage_add_up(tmp_path: Path) -> None:
    (pipeline,) = compile_pipelines(config_of(tmp_path)).values()
    extract, name = pipeline.stages
    clock = Clock()
    tally = Tally(pipeline.stages, clock)
    clock.now = 101.0
    with tally.call(extract):
        clock.now = 103.0
    tally.add(extract, Answer("{}", TokenUsage(10, 5), "concept@1", "stop"))
    for _ in range(2):
        with tally.call(name):
            clock.now += 0.5
    tally.error(name)
    usage: Any = tally.usage()
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (10, 5, 15)
    first, second = usage["stages"]
    assert (first["adapter"], first["calls"], first["start_ms"], first["ms"]) == (
        "concept@1",
        1,
        1000.0,
        2000.0,
    )
    assert (second["calls"], second["errors"], second["start_ms"], second["ms"]) == (2, 1, 3000.0, 1000.0)
    assert "fallbacks" not in first


def test_stage_that_was_not_called_took_no_time(tmp_path: Path) -> None:
    (pipeline,) = compile_pipelines(config_of(tmp_path)).values()
    usage: Any = Tally(pipeline.stages, Clock()).usage()
    assert [(one["calls"], one["ms"]) for one in usage["stages"]] == [(0, 0.0), (0, 0.0)]
