"""Added times and ratios, round by round."""

from __future__ import annotations

import pytest

from launch.bench.results.summary import ratios, summarise


def row(number: int, subject: str, p50_us: float, **more: float) -> dict[str, object]:
    return {"round": number, "cell": "whole-1", "subject": subject, "p50_us": p50_us, **more}


ROWS = [
    row(0, "direct", 20),
    row(0, "nginx", 120, cpu_us=20.0, requests_per_s=100.0),
    row(0, "gateway", 220, cpu_us=60.0, requests_per_s=50.0),
    row(0, "slow", 1020, cpu_us=600.0, requests_per_s=5.0),
    row(0, "quick", 420, cpu_us=80.0, requests_per_s=40.0),
    row(1, "direct", 40),
    row(1, "nginx", 140, cpu_us=20.0, requests_per_s=100.0),
    row(1, "gateway", 340, cpu_us=80.0, requests_per_s=50.0),
]


def test_added_time_is_against_direct_of_the_same_round() -> None:
    added = summarise(ROWS)["whole-1"]["gateway"]["added_p50_us"]
    assert (added["least"], added["most"], added["median"]) == (200, 300, 250)
    assert "added_p50_us" not in summarise(ROWS)["whole-1"]["direct"]


def test_ratios_take_the_best_peer_of_each_figure() -> None:
    found = ratios(ROWS)["whole-1"]
    assert found["to_nginx"]["added_p50_us"]["median"] == pytest.approx((2 + 3) / 2)
    assert found["to_best_peer"]["cpu_us"]["median"] == pytest.approx(60 / 80)
    assert found["to_best_peer"]["requests_per_s"]["median"] == pytest.approx(50 / 40)


def test_a_figure_that_is_not_above_zero_has_no_ratio() -> None:
    rows = [row(0, "direct", 100), row(0, "nginx", 90), row(0, "gateway", 120)]
    assert ratios(rows) == {}
