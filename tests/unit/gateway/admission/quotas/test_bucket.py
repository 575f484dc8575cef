"""A minute's allowance: full at first, evenly refilled, never more than full."""

from __future__ import annotations

import pytest

from gateway.admission.quotas.bucket import level_now, seconds_until


@pytest.mark.parametrize(
    ("level", "at", "now", "there"),
    [
        (0.0, 0.0, 1000.0, 60.0),  # never touched
        (0.0, 1000.0, 1000.0, 0.0),
        (0.0, 1000.0, 1010.0, 10.0),
        (-30.0, 1000.0, 1010.0, -20.0),
        (55.0, 1000.0, 1010.0, 60.0),
        (5.0, 1000.0, 990.0, 5.0),  # the clock was set back
        (5.0, 1000.0, 940.0, 5.0),
        (-90.0, 1000.0, 939.0, 60.0),  # so far that nothing is known
    ],
)
def test_level(level: float, at: float, now: float, there: float) -> None:
    assert level_now(level, at, now, 60) == there


@pytest.mark.parametrize(("level", "wanted", "wait_s"), [(5, 1, 0), (0, 1, 1), (-59, 1, 60), (0.5, 1, 0.5)])
def test_wait(level: float, wanted: float, wait_s: float) -> None:
    assert seconds_until(level, wanted, 60) == wait_s
