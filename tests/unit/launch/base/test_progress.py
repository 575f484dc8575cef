"""How far work has come: parts of a whole, and one line a stage where there is no terminal."""

from __future__ import annotations

import io

from rich.console import Console

from launch.base.progress import console_progress, part


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
