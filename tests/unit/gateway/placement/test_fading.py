"""Tokens a second, of which those of long ago count little."""

from __future__ import annotations

import pytest

from gateway.placement.fading import FORGOTTEN_S, LEAST_SEEN_S, FadingRate


def steady(rate: FadingRate, tokens_per_s: float, start: float, end: float) -> None:
    for tenth in range(int(start * 10), int(end * 10)):
        rate.add("a", tokens_per_s / 10, tenth / 10)


@pytest.mark.parametrize("seen_s", [10.0, 30.0, 60.0, 600.0])
def test_what_is_steady_is_its_rate_however_long_it_was_seen(seen_s: float) -> None:
    rate = FadingRate()
    steady(rate, 40.0, 0.0, seen_s)
    assert rate.tokens_per_s(seen_s)["a"] == pytest.approx(40.0, rel=0.01)


def test_a_first_request_is_no_stream() -> None:
    rate = FadingRate()
    rate.add("a", 500.0, 100.0)
    assert rate.tokens_per_s(100.0)["a"] == pytest.approx(500.0 / LEAST_SEEN_S, rel=0.1)


def test_time_in_which_nothing_came_was_seen_too() -> None:
    rate = FadingRate()
    assert rate.tokens_per_s(0.0) == {}
    rate.begin(0.0)
    rate.begin(590.0)
    rate.add("a", 600.0, 600.0)
    assert rate.tokens_per_s(600.0)["a"] == pytest.approx(10.0, rel=0.001)


def test_what_is_asked_for_no_more_fades_by_the_same_share_in_the_same_time_and_is_forgotten() -> None:
    rate = FadingRate()
    rate.begin(-1e6)
    rate.add("a", 6000.0, 0.0)
    looked_at = [rate.tokens_per_s(at)["a"] for at in (0.0, FORGOTTEN_S, 2 * FORGOTTEN_S)]
    assert looked_at == pytest.approx([100.0, 36.8, 13.5], rel=0.01)
    assert rate.tokens_per_s(20 * FORGOTTEN_S) == {}
