"""How long work tells how far it has come."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

Report = Callable[[str, float], None]
"""Told the stage in words and how far the whole has come, 0 to 1."""


def silent(stage: str, fraction: float) -> None:
    """The report that nobody reads."""


def part(report: Report, low: float, high: float) -> Report:
    """A report for one step that covers `low` to `high` of the whole."""
    return lambda stage, fraction: report(stage, low + (high - low) * fraction)


@contextlib.contextmanager
def console_progress(console: Console | None = None) -> Iterator[Report]:
    """A report that draws a bar with the seconds elapsed; without a terminal, one line for each stage."""
    console = console or Console(stderr=True)
    if not console.is_terminal:
        yield _lines(console)
        return
    with terminal_progress(console) as report:
        yield report


@contextlib.contextmanager
def terminal_progress(
    console: Console | None = None, *, quiet: bool = False, measured: bool = True
) -> Iterator[Report]:
    """A report that draws a bar with the seconds elapsed, below what is printed meanwhile.

    Silent without a terminal, and where `quiet`. `measured`: it is known how far the work has come; else the
    bar only says that it goes on.
    """
    console = console or Console(stderr=True)
    if quiet or not console.is_terminal:
        yield silent
        return
    share = (TaskProgressColumn(),) if measured else ()
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), *share, TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=1.0 if measured else None, visible=False)

        def report(stage: str, fraction: float) -> None:
            progress.update(task, description=stage, completed=fraction, visible=True)

        yield report


def _lines(console: Console) -> Report:
    began, last = time.monotonic(), ""

    def report(stage: str, fraction: float) -> None:
        nonlocal last
        if stage != last:
            elapsed_s = time.monotonic() - began
            console.print(f"base model: {stage} ({fraction:.0%}, {elapsed_s:.0f} s)", highlight=False)
            last = stage

    return report
