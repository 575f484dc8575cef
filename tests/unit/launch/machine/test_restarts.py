"""Restarts: how long until the next, and when no more."""

from __future__ import annotations

from launch.machine.restarts import SETTLED_S, Restarts


def test_back_off_doubles_to_a_bound_and_ends() -> None:
    restarts, delays = Restarts(most=8, backoff_s=1.0), []
    for _ in range(9):
        restarts, delay_s = restarts.failed(0.0, "crash")
        delays.append(delay_s)
    assert delays == [1, 2, 4, 8, 16, 32, 60, 60, None]


def test_good_service_begins_the_count_anew() -> None:
    worn, _ = Restarts(5, 1.0, in_a_row=4).failed(SETTLED_S, "crash")
    assert worn.in_a_row == 1


def test_setting_that_fails_is_not_tried_again() -> None:
    assert Restarts(5, 1.0).failed(0.0, "configuration")[1] is None
