"""Something that is shown again and again: in its place on a terminal, one below the other elsewhere."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

Show = Callable[[RenderableType], None]


@contextlib.contextmanager
def screen(console: Console | None = None, *, in_place: bool = True) -> Iterator[Show]:
    """What Ctrl-C ends leaves the last of it on the terminal, and no trace of the interruption."""
    console = console or Console(highlight=False)
    with contextlib.suppress(KeyboardInterrupt):
        if not (in_place and console.is_terminal):
            yield lambda shown: _print(console, shown)
            return
        with Live(console=console, auto_refresh=False, vertical_overflow="ellipsis") as live:
            yield lambda shown: live.update(Text(shown) if isinstance(shown, str) else shown, refresh=True)


def _print(console: Console, shown: RenderableType) -> None:
    if isinstance(shown, str):
        print(shown, flush=True)  # a line of JSON is not to be broken
    else:
        console.print(shown)
