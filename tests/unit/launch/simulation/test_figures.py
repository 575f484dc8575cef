"""PolicyFigures of requests whose times are known."""

from __future__ import annotations

import math

import pytest

from launch.simulation.figures import figures_of, percentile
from launch.simulation.request import Request


def answered(at_s: float, first_s: float, end_s: float = -1.0) -> Request:
    one = Request(at_s, "a", 1, 10)
    one.first_s, one.end_s = first_s, end_s
    return one


def test_what_came_in_the_warm_up_is_not_counted() -> None:
    some = [answered(0.0, 9.0), answered(10.0, 10.5, 12.0), answered(11.0, 14.0), answered(15.0, -1.0)]
    found = figures_of("any", some, 10.0, 20.0, loads=5, slo_s=1.0, patience_s=4.0)
    assert (found.requests, found.answered) == (3, 2)
    assert found.good_share == pytest.approx(1 / 3)
    assert (found.first_token_p50_s, found.first_token_p99_s) == (3.0, 4.0)
    assert (found.goodput_per_s, found.output_tokens_per_s, found.loads_per_minute) == (0.1, 1.0, 30.0)


def test_nothing_after_the_warm_up_is_said() -> None:
    with pytest.raises(ValueError, match="warm-up"):
        figures_of("any", [], 10.0, 20.0, 0, 1.0, 1.0)


def test_percentiles_are_values_that_were_seen() -> None:
    values = [float(number) for number in range(1, 101)]
    assert [percentile(values, share) for share in (0.0, 0.5, 0.99, 1.0)] == [1.0, 50.0, 99.0, 100.0]
    assert percentile([5.0, 1.0], 0.5) == 1.0
    assert math.isnan(percentile([], 0.5))
