"""Something shown again and again."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from launch.cli.live.screen import screen


def test_where_there_is_no_terminal_each_comes_below_the_last_without_colours(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with screen(Console(file=io.StringIO())) as show:
        show("one [bold]")
        show("two")
    assert capsys.readouterr().out == "one [bold]\ntwo\n"


def test_on_a_terminal_the_last_stays() -> None:
    out = io.StringIO()
    with screen(Console(file=out, force_terminal=True, width=40)) as show:
        show("one [x]")
        show("two")
    assert "one [x]" in out.getvalue()
    assert out.getvalue().rstrip("\x1b[?25h\n ").endswith("two")


def test_ctrl_c_ends_it_without_a_word(capsys: pytest.CaptureFixture[str]) -> None:
    with screen(Console(file=io.StringIO())):
        raise KeyboardInterrupt
    assert capsys.readouterr().out == ""
