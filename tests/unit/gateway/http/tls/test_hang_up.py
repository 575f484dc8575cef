"""SIGHUP at a gateway: certificates are taken anew, a terminal that was closed ends it, nohup holds."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from gateway.http.tls.hang_up import HangUp


@pytest.fixture(autouse=True)
def handler() -> Iterator[None]:
    before = signal.getsignal(signal.SIGHUP)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(
    ("terminal", "still", "nohup", "wish"),
    [
        (False, False, False, "reload"),
        (True, True, False, "reload"),
        (True, False, False, "end"),
        (True, False, True, "reload"),
    ],
)
def test_what_it_means_hangs_on_the_terminal(terminal: bool, still: bool, nohup: bool, wish: str) -> None:
    there = terminal
    signal.signal(signal.SIGHUP, signal.SIG_IGN if nohup else signal.SIG_DFL)
    hang_up = HangUp(lambda: there)
    there = still
    assert hang_up.wish() == ""
    signal.raise_signal(signal.SIGHUP)
    signal.raise_signal(signal.SIGHUP)
    assert (hang_up.wish(), hang_up.wish()) == (wish, "")
