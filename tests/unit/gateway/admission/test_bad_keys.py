"""Unknown keys: one line a minute for each address, a bound, and memory that does not grow."""

from __future__ import annotations

import logging

import pytest

from gateway.admission.bad_keys import BadKeys
from gateway.admission.refused_keys import MOST_WINDOWS, WINDOW_S


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_so_many_a_minute_and_then_the_rest_of_the_minute() -> None:
    clock = Clock()
    bad = BadKeys(3, clock)
    assert [bad.count("10.0.0.1") for _ in range(3)] == [None, None, None]
    clock.now += 20.5
    assert bad.count("10.0.0.1") == 40
    assert bad.count("10.0.0.2") is None, "another address has its own"
    clock.now += WINDOW_S
    assert bad.count("10.0.0.1") is None


def test_a_flood_is_three_lines(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    clock = Clock()
    bad = BadKeys(10, clock)
    for _ in range(1000):
        bad.count("10.0.0.1")
    clock.now += WINDOW_S
    bad.count("10.0.0.1")
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 4
    assert "an unknown API key came from 10.0.0.1" in said[0]
    assert "429" in said[1]
    assert "1000 unknown API keys" in said[2]


def test_who_comes_no_more_is_told_too() -> None:
    clock, told = Clock(), list[tuple[str, int]]()
    bad = BadKeys(3, clock, lambda address, count: told.append((address, count)))
    for _ in range(50):
        bad.count("10.0.0.1")
    clock.now += WINDOW_S
    for _ in range(2):
        bad.count("10.0.0.2")
    assert told == [("10.0.0.1", 1), ("10.0.0.1", 50), ("10.0.0.2", 1)]
    bad.close()
    assert told[3:] == [("10.0.0.2", 2)]


def test_addresses_are_forgotten_for_others() -> None:
    bad = BadKeys(1, Clock())
    assert [bad.count("first"), bad.count("first")] == [None, 60]
    for number in range(MOST_WINDOWS):
        bad.count(str(number))
    assert len(bad._windows) <= MOST_WINDOWS
    assert bad.count("first") is None


def test_who_has_a_whole_network_is_one_client(caplog: pytest.LogCaptureFixture) -> None:
    told: list[tuple[str, int]] = []
    bad = BadKeys(3, Clock(), lambda address, count: told.append((address, count)))
    assert [bad.count(f"2001:db8::{number:x}") for number in range(1, 6)] == [None, None, None, 60, 60]
    assert bad.count("2001:db8:0:1::1") is None, "the next network"
    assert [bad.count(one) for one in ("10.0.0.1", "::ffff:10.0.0.1", "fe80::1%eth0")] == [None] * 3
    assert told == [("2001:db8::/64", 1), ("2001:db8:0:1::/64", 1), ("10.0.0.1", 1), ("fe80::/64", 1)]
