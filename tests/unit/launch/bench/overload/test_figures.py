"""What outcomes say."""

from __future__ import annotations

import pytest

from launch.bench.overload.figures import figures_of
from launch.bench.overload.load import LEFT, Outcome


def test_good_is_what_is_whole_within_the_window_and_each_key_is_told_apart() -> None:
    outcomes = [
        Outcome("light", 200, 1.0, 0.1, 0.5),
        Outcome("light", 200, 9.9, 0.1, 0.5),  # answered, after the window
        Outcome("flood", 429, 1.0, 0.004, 0.004),
        Outcome("flood", 503, 1.0, 0.006, 0.006),
        Outcome("flood", LEFT, 1.0, 0.0, 2.0),
        Outcome("flood", 504, 1.0, 1.9, 1.9),
    ]
    found = figures_of(outcomes, ("light", "flood"), 10.0)
    assert (found["offered_per_s"], found["goodput_per_s"]) == (0.6, 0.1)
    assert (found["light_answered"], found["flood_answered"]) == (1.0, 0.0)
    assert (found["flood_refused"], found["flood_left"], found["flood_other"]) == (2, 1, 1)
    assert found["light_total_p99_ms"] == 500
    assert found["ttft_p50_ms"] == 100
    assert found["refusal_p99_ms"] == pytest.approx(6)
    assert "flood_total_p50_ms" not in found
    assert figures_of([], ("light",), 10.0)["light_answered"] == 1.0
