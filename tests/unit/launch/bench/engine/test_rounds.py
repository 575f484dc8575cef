"""Rounds of the engine's benchmark: their order, their figures, their ratios."""

from __future__ import annotations

import pytest

from launch.bench.engine.rounds import (
    ArmRun,
    Comparison,
    arms_of,
    by_arm,
    comparisons,
    figures_of,
    in_order,
    ratios,
)
from tests.unit.launch.bench.engine.test_load import ADAPTERS, LOAD


def test_the_mixes_hold_the_first_task_and_a_missing_fourth_leaves_its_mix_out() -> None:
    arms = {a.name: a.target.models for a in arms_of("e", "g", "base", ADAPTERS, "concept", LOAD, LOAD)}
    assert arms["direct"] == ("concept@2",)
    assert arms["two"] == ("concept@2", "naming@1")
    assert len(set(arms["four"])) == 4
    assert arms["base"] == ("base",)
    three = dict(list(ADAPTERS.items())[:3])
    few = arms_of("e", "g", "base", three, "naming", LOAD, None)
    assert [arm.name for arm in few] == ["gateway", "direct", "two", "base"]
    assert {one.above for one in comparisons(few)} == {"gateway", "direct", "two"}


def test_one_request_at_a_time_is_held_against_the_base_as_well() -> None:
    arms = arms_of("e", "g", "base", ADAPTERS, "naming", LOAD, LOAD)
    assert ("direct-single", "base-single") in {(one.above, one.below) for one in comparisons(arms)}


def test_every_other_round_runs_backwards() -> None:
    arms = arms_of("e", "g", "base", ADAPTERS, "naming", LOAD, None)
    assert in_order(arms, 0) == arms
    assert in_order(arms, 1) == arms[::-1]


def test_ratios_are_formed_within_a_round() -> None:
    speeds = [(0, "gateway", 9.0), (0, "direct", 10.0), (1, "direct", 100.0), (1, "gateway", 98.0)]
    runs = [ArmRun(n, 0, arm, {"output_tokens_per_s": speed}) for n, arm, speed in speeds]
    found = ratios(runs, [Comparison("r", "gateway", "direct")])["r"]
    assert (found.lowest, found.highest) == (0.9, 0.98)
    assert by_arm(runs)["direct"]["output_tokens_per_s"].median == 55.0


def test_figures_have_our_names_and_a_missing_one_is_seen() -> None:
    given = dict.fromkeys(
        ("output_throughput", "mean_ttft_ms", "p50_ttft_ms", "p99_ttft_ms", "mean_itl_ms", "p50_itl_ms"), 2
    )
    with pytest.raises(KeyError):
        figures_of(given)
    figures = figures_of({**given, "p99_itl_ms": 3, "mean_e2el_ms": 4, "duration": 5})
    assert (figures["output_tokens_per_s"], figures["inter_token_p99_ms"]) == (2.0, 3.0)
