"""The lower bound of a pipeline's time, and the tables."""

from __future__ import annotations

import pytest

from launch.bench.pipeline.by_hand import Timing
from launch.bench.pipeline.prefix_cache import PrefixCache
from launch.bench.pipeline.report import PipelineRun, rounds_of, summary
from launch.bench.pipeline.report import figures_of as pipeline_figures


def test_the_lower_bound_is_of_the_same_round() -> None:
    def took(total_s: float, first_s: float, last_s: float) -> Timing:
        return Timing(total_s, first_s, last_s, elements=3, first_tokens=90, each_tokens=9)

    runs = [
        PipelineRun(number, 3, arm, took(*times), PrefixCache(100.0, 60.0 * number))
        for number, factor in ((0, 1.0), (1, 2.0))
        for arm, times in (
            ("gateway", (11.0 * factor, 10.5 * factor, 0.5 * factor)),
            ("behind", (12.1 * factor, 10.5 * factor, 0.5 * factor)),
            ("sequential", (13.0 * factor, 9.0 * factor, 1.0 * factor)),
            ("fan-out", (12.0 * factor, 9.0 * factor, 2.0 * factor)),
        )
    ]
    figures = pipeline_figures(rounds_of(runs, 3))
    assert figures["gateway / bound"].median == pytest.approx(1.1)
    assert figures["gateway / bound"].highest == pytest.approx(1.1)
    assert figures["bound_s"].median == 15.0
    assert figures["gateway / bound at its length"].median == pytest.approx(1.1)
    found = summary(runs)["3"]
    assert isinstance(found, dict)
    assert found["concepts_that_came"] == [3]
    assert figures["behind / gateway"].median == pytest.approx(1.1)
    # What no request before has brought into the cache says nothing of it.
    assert found["prefix_cache"] == {"queries": 100.0, "hits": 60.0, "hit_rate": 0.6}
    assert not found["within_target"]
