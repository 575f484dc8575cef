"""How far work has come: parts of a whole, and one line a stage where there is no terminal."""

from __future__ import annotations

import io

from rich.console import Console

from launch.base.progress import console_progress, part, terminal_progress


def test_part_covers_its_share_of_the_whole() -> None:
    told: list[tuple[str, float]] = []
    report = part(lambda stage, fraction: told.append((stage, fraction)), 0.2, 0.6)
    for fraction in (0.0, 0.5, 1.0):
        report("x", fraction)
    assert [round(fraction, 3) for _, fraction in told] == [0.2, 0.4, 0.6]


def test_without_a_terminal_each_stage_is_one_line() -> None:
    out = io.StringIO()
    with console_progress(Console(file=out)) as report:
        for stage, fraction in (("fetching", 0.1), ("fetching", 0.4), ("writing", 0.9)):
            report(stage, fraction)
    lines = out.getvalue().splitlines()
    assert [line.split(" (")[0] for line in lines] == ["base model: fetching", "base model: writing"]
    assert "(10%, 0 s)" in lines[0]


def test_a_terminal_has_a_bar_and_nothing_else_hears_of_it() -> None:
    said: list[str] = []
    for terminal, quiet, measured in (
        (True, False, True),
        (True, False, False),
        (True, True, True),
        (False, False, True),
    ):
        out = io.StringIO()
        console = Console(file=out, force_terminal=terminal, width=80)
        with terminal_progress(console, quiet=quiet, measured=measured) as report:
            report("step 3 of [12]", 0.25)
        said.append(out.getvalue())
    with_share, without, *silent = said
    assert "step 3 of [12]" in with_share
    assert "25%" in with_share
    assert "step 3 of [12]" in without
    assert "%" not in without
    assert silent == ["", ""]
