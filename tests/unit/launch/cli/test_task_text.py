"""A task's versions in columns."""

from __future__ import annotations

import time

import pytest

from launch.cli.keys import seconds_until
from launch.cli.task_text import columns, moment


def test_a_time_names_its_zone_and_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC-5:30")
    time.tzset()
    assert (moment(1800000000.0), moment(None)) == ("2027-01-15 13:30:00+05:30", "-")
    assert seconds_until(moment(1800000000.0), 0.0) == 1800000000
    monkeypatch.undo()
    time.tzset()


def test_columns_are_as_wide_as_their_widest() -> None:
    assert columns(("A", "B"), [("long", "x"), ("s", "")]) == ["A     B", "long  x", "s"]
