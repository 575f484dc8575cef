"""How long work tells how far it has come."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn
from rich.text import Text

Report = Callable[[str, float | None], None]
"""Told the stage in words and how far the whole has come, 0 to 1; None where that is not known."""

BAR_WIDTH = 24
"""So that what is done now has its place beside it, also at 80 columns."""


def silent(stage: str, fraction: float | None) -> None:
    """The report that nobody reads."""


def part(report: Report, low: float, high: float) -> Report:
    """A report for one step that covers `low` to `high` of the whole."""
    return lambda stage, fraction: report(stage, low + (high - low) * (fraction or 0.0))


def bars(console: Console, *columns: ProgressColumn) -> Progress:
    """A terminal's bars, each led by what is done now, below what is printed meanwhile.

    What is printed on stdout stands above them, unless it goes elsewhere than to a terminal.
    """
    named = TextColumn("{task.description}", markup=False)
    shown = (named, BarColumn(BAR_WIDTH), *columns)
    return Progress(
        *shown, console=console, transient=True, refresh_per_second=5, redirect_stdout=sys.stdout.isatty()
    )


@contextlib.contextmanager
def said_on_stderr(as_json: bool) -> Iterator[None]:
    """Where a program reads stdout, all that is said meanwhile goes to stderr."""
    with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
        yield


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
def terminal_progress(console: Console | None = None, *, quiet: bool = False) -> Iterator[Report]:
    """A report that draws a bar with the seconds elapsed, below what is printed meanwhile.

    Where it is not known how far the work has come, the bar only says that it goes on. Silent without a
    terminal, and where `quiet`.
    """
    console = console or Console(stderr=True)
    if quiet or not console.is_terminal:
        yield silent
        return
    with bars(console, _Share(), TimeElapsedColumn()) as progress:
        task = progress.add_task("", total=None, visible=False)

        def report(stage: str, fraction: float | None) -> None:
            progress.tasks[task].total = None if fraction is None else 1.0
            progress.update(task, description=stage, completed=fraction or 0.0, visible=True)

        yield report


class _Share(ProgressColumn):
    """How far it is, where that is known."""

    def render(self, task: Task) -> Text:
        return Text("" if task.total is None else f"{task.percentage:>3.0f}%", style="progress.percentage")


def _lines(console: Console) -> Report:
    began, last = time.monotonic(), ""

    def report(stage: str, fraction: float | None) -> None:
        nonlocal last
        if stage != last:
            far = "" if fraction is None else f"{fraction:.0%}, "
            elapsed_s = time.monotonic() - began
            console.print(f"base model: {stage} ({far}{elapsed_s:.0f} s)", highlight=False)
            last = stage

    return report
