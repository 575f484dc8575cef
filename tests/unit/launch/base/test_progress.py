"""How far work has come: parts of a whole, and one line a stage where there is no terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from launch.base.progress import console_progress, part, terminal_progress


def test_part_covers_its_share_of_the_whole() -> None:
    told: list[tuple[str, float | None]] = []
    report = part(lambda stage, fraction: told.append((stage, fraction)), 0.2, 0.6)
    for fraction in (0.0, 0.5, 1.0):
        report("x", fraction)
    assert [round(fraction or 0.0, 3) for _, fraction in told] == [0.2, 0.4, 0.6]


def test_without_a_terminal_each_stage_is_one_line() -> None:
    out = io.StringIO()
    with console_progress(Console(file=out)) as report:
        for stage, fraction in (("fetching", 0.1), ("fetching", 0.4), ("writing", 0.9)):
            report(stage, fraction)
    lines = out.getvalue().splitlines()
    assert [line.split(" (")[0] for line in lines] == ["base model: fetching", "base model: writing"]
    assert "(10%, 0 s)" in lines[0]


def test_where_nobody_knows_how_far_it_is_a_line_has_no_share() -> None:
    out = io.StringIO()
    with console_progress(Console(file=out)) as report:
        report("waiting", None)
    assert out.getvalue() == "base model: waiting (0 s)\n"


def test_a_terminal_has_a_bar_and_nothing_else_hears_of_it() -> None:
    said: list[str] = []
    for terminal, quiet, fraction in (
        (True, False, 0.25),
        (True, False, None),
        (True, True, 0.25),
        (False, False, 0.25),
    ):
        out = io.StringIO()
        console = Console(file=out, force_terminal=terminal, width=80)
        with terminal_progress(console, quiet=quiet) as report:
            report("step 3 of [12]", fraction)
        said.append(out.getvalue())
    with_share, without, *silent = said
    assert "step 3 of [12]" in with_share
    assert "25%" in with_share
    assert "step 3 of [12]" in without
    assert "%" not in without
    assert silent == ["", ""]


def test_what_is_printed_beside_a_bar_goes_where_it_went(capsys: pytest.CaptureFixture[str]) -> None:
    """Standard output may be a file while the bar is in the terminal."""
    terminal = io.StringIO()
    with terminal_progress(Console(file=terminal, force_terminal=True, width=80)) as report:
        report("training", 0.5)
        print("step 1")
    assert capsys.readouterr().out == "step 1\n"
    assert "step 1" not in terminal.getvalue()
