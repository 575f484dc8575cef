"""SIGHUP: a wish to reload, or the last word of a terminal that was closed."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from launch.machine.signals import StopSignals

NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """As they were, afterwards."""
    before = {number: signal.getsignal(number) for number in NUMBERS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("terminal", "still", "nohup", "reload"),
    [
        (False, False, False, True),
        (True, True, False, True),
        (True, False, False, False),
        (True, False, True, True),
    ],
    ids=["no terminal", "terminal", "closed terminal", "closed terminal under nohup"],
)
def test_hang_up_is_an_end_where_the_terminal_was_closed(
    terminal: bool, still: bool, nohup: bool, reload: bool
) -> None:
    there = terminal
    signal.signal(signal.SIGHUP, signal.SIG_IGN if nohup else signal.SIG_DFL)
    stop = StopSignals(lambda: there)
    stop.heed_reload()
    there = still
    signal.raise_signal(signal.SIGHUP)
    assert (stop.reload_asked(), stop.asked()) == (reload, not reload)
    assert not stop.reload_asked()
