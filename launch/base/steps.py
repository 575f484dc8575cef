"""Steps whose number is known before the first of them: what is done now, how many are over, time left."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

from rich.console import Console, RenderableType
from rich.progress import MofNCompleteColumn, Progress, ProgressColumn, Task, TaskID
from rich.text import Text

from launch.base.progress import bars

Say = Callable[[RenderableType], None]
"""A line, or a table."""


class Steps:
    """In a terminal a bar on stderr with the lines above it; elsewhere the lines alone."""

    def __init__(self, say: Say, progress: Progress | None = None, task: TaskID | None = None) -> None:
        self._say = say
        self._progress = progress
        self._task = task
        self._began_s = time.monotonic()

    def now(self, text: str) -> None:
        """What is done from now on; it stands beside the bar, and nowhere where there is none."""
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, description=text, visible=True)

    def advance(self) -> None:
        """One is over. May be called from any thread."""
        if self._progress is not None and self._task is not None:
            over_at_s = time.monotonic() - self._began_s
            self._progress.update(self._task, advance=1, visible=True, over_at_s=over_at_s)

    def say(self, what: RenderableType) -> None:
        """Print something that stays above the bar."""
        self._say(what)

    def done(self, text: str) -> None:
        """One is over, and what came of it stays as a line."""
        self.advance()
        self.say(text)


@contextlib.contextmanager
def counted_steps(
    total: int, say: Say, *, over: int = 0, console: Console | None = None, quiet: bool = False
) -> Iterator[Steps]:
    """`total` steps; `say` prints on stdout, and above the bar instead where both are one terminal.

    `over` are those that an earlier run has done. No bar without a terminal, nor where `quiet`.
    """
    console = console or Console(stderr=True)
    if quiet or not console.is_terminal:
        yield Steps(say)
        return
    with bars(console, MofNCompleteColumn(), _Left()) as progress:
        task = progress.add_task("", total=total, completed=over, visible=False, before=over, over_at_s=0.0)
        above = progress.console

        def printed(what: RenderableType) -> None:
            above.print(what, markup=False, highlight=False)

        yield Steps(printed if sys.stdout.isatty() else say, progress, task)


def seconds_left(total: float, over: float, over_at_s: float, elapsed_s: float) -> float | None:
    """By what the steps took that are over; None before the first is. It falls within a step, not below 0."""
    if not over:
        return None
    return max(0.0, over_at_s / over * (total - over) - (elapsed_s - over_at_s))


def clock(seconds: float) -> str:
    """`1:05`, or with hours `2:01:05`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class _Left(ProgressColumn):
    """The time left."""

    max_refresh = 0.5

    def render(self, task: Task) -> Text:
        before, over_at_s = task.fields["before"], task.fields["over_at_s"]
        total, over = (task.total or 0) - before, task.completed - before
        left = seconds_left(total, over, over_at_s, task.elapsed or 0.0)
        return Text("" if left is None else f"{clock(left)} left", style="progress.remaining")
