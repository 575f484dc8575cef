"""Counted steps: a bar in a terminal alone, and lines that stay wherever they are read."""

from __future__ import annotations

import io
import sys

import pytest
from rich.console import Console

from launch.base.steps import clock, counted_steps, seconds_left


def terminal() -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=80)


def shown(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_terminal_shows_what_is_done_now_and_how_many_are_over() -> None:
    console = terminal()
    with counted_steps(12, print, console=console) as steps:
        steps.now("round 1: [gateway]")
        steps.advance()
    assert "round 1: [gateway]" in shown(console)
    assert " 1/12" in shown(console)
    assert " left" in shown(console)


@pytest.mark.parametrize("quiet", [True, False])
def test_elsewhere_there_are_the_lines_alone(quiet: bool) -> None:
    console = terminal() if quiet else Console(file=io.StringIO())
    said: list[object] = []
    with counted_steps(2, said.append, console=console, quiet=quiet) as steps:
        steps.now("round 1")
        steps.done("round 1: 20 tokens/s")
    assert said == ["round 1: 20 tokens/s"]
    assert shown(console) == ""


def test_lines_stay_on_stdout_while_the_bar_is_in_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    console = terminal()
    with counted_steps(2, print, console=console) as steps:
        steps.done("round 1: 20 tokens/s")
    assert capsys.readouterr().out == "round 1: 20 tokens/s\n"
    assert "20 tokens/s" not in shown(console)


def test_where_both_are_one_terminal_lines_come_above_the_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    console, said = terminal(), list[object]()
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    with counted_steps(2, said.append, console=console) as steps:
        steps.done("round 1: 20 tokens/s")
    assert "round 1: 20 tokens/s" in shown(console)
    assert said == []


def test_time_left_goes_by_the_steps_that_are_over() -> None:
    assert seconds_left(10, 0, 0.0, 5.0) is None
    assert seconds_left(10, 2, 20.0, 20.0) == 80
    assert seconds_left(10, 2, 20.0, 27.0) == 73
    assert seconds_left(10, 9, 90.0, 130.0) == 0  # the last one takes longer than the others


def test_time_as_a_clock_shows_it() -> None:
    assert [clock(seconds) for seconds in (4.6, 65, 7265)] == ["0:05", "1:05", "2:01:05"]


def test_what_an_earlier_run_did_is_over_and_tells_nothing_of_the_time_left() -> None:
    console = terminal()
    with counted_steps(12, print, over=10, console=console) as steps:
        steps.now("naming")
    assert "10/12" in shown(console)
    assert " left" not in shown(console)
