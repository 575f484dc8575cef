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
    ("terminal", "still", "reload"),
    [(False, False, True), (True, True, True), (True, False, False)],
    ids=["no terminal", "terminal", "closed terminal"],
)
def test_hang_up_is_an_end_where_the_terminal_was_closed(terminal: bool, still: bool, reload: bool) -> None:
    there = terminal
    stop = StopSignals(lambda: there)
    stop.heed_reload()
    there = still
    signal.raise_signal(signal.SIGHUP)
    assert (stop.reload_asked(), stop.asked()) == (reload, not reload)
    assert not stop.reload_asked()
