"""What comes: at the rate that was asked for, by the law that was asked for, the same for one seed."""

from __future__ import annotations

import statistics
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest

from gateway.errors import ConfigError
from launch.simulation.arrivals import OfferedLoad, Zipf, recorded_rows, requests_of

LOAD = OfferedLoad("poisson", 20.0, 500.0, 100, 30)


@pytest.mark.parametrize("pattern", ["poisson", "bursty", "recorded"])
def test_as_many_come_as_were_asked_for_in_order(pattern: str) -> None:
    found = requests_of(replace(LOAD, pattern=pattern, duration_s=3000.0), Zipf(10), seed=3)
    assert len(found) == pytest.approx(60_000, rel=0.1)
    assert all(one.at_s <= other.at_s for one, other in pairwise(found))
    assert all(one.output_tokens >= 1 and one.at_s < 3000 for one in found)


def test_lengths_are_as_asked_for() -> None:
    found = requests_of(LOAD, Zipf(10), seed=3)
    assert statistics.fmean(one.prompt_tokens for one in found) == pytest.approx(100, rel=0.05)
    assert statistics.fmean(one.output_tokens for one in found) == pytest.approx(30, rel=0.05)


def test_bursts_vary_more_than_chance() -> None:
    def spread(pattern: str) -> float:
        counts = Counter(
            int(one.at_s) for one in requests_of(replace(LOAD, pattern=pattern), Zipf(1), seed=3)
        )
        return statistics.pvariance([counts[second] for second in range(500)]) / 20

    assert spread("poisson") == pytest.approx(1, rel=0.3)
    assert spread("bursty") > 3


def test_one_seed_is_one_load() -> None:
    def told(seed: int) -> list[tuple[float, str]]:
        return [(one.at_s, one.adapter) for one in requests_of(replace(LOAD, duration_s=5.0), Zipf(10), seed)]

    assert told(1) == told(1) != told(2)


def test_popularity_follows_the_law() -> None:
    counts = Counter(one.adapter for one in requests_of(LOAD, Zipf(100), seed=3))
    assert counts["task-00001"] / counts["task-00002"] == pytest.approx(2, rel=0.1)
    assert counts["task-00001"] / counts["task-00010"] == pytest.approx(10, rel=0.25)


def test_the_recorded_sample_is_whole() -> None:
    rows = recorded_rows()
    assert len(rows) == 1999
    assert all(gap_s >= 0 and prompt > 0 for gap_s, prompt, _ in rows)


def test_an_unknown_pattern_is_refused() -> None:
    with pytest.raises(ConfigError, match="poisson, bursty, recorded"):
        requests_of(replace(LOAD, pattern="steady"), Zipf(1), seed=1)
