"""A task's versions in columns."""

from __future__ import annotations

from launch.cli.task_text import columns


def test_columns_are_as_wide_as_their_widest() -> None:
    assert columns(("A", "B"), [("long", "x"), ("s", "")]) == ["A     B", "long  x", "s"]
