"""SIGHUP: take the certificates anew, or end, where it says that our terminal was closed."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType
from typing import Literal

from gateway.config.process import has_terminal

Wish = Literal["", "reload", "end"]


class HangUp:
    """From its making on SIGHUP is no end by itself; make it in the main thread, before workers are forked.

    Started under nohup, a closed terminal is no end either.
    """

    def __init__(self, has_terminal: Callable[[], bool] = has_terminal) -> None:
        self._asked = False
        self._has_terminal = has_terminal
        ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        self._terminal = not ignored and has_terminal()
        signal.signal(signal.SIGHUP, self._heard)

    def _heard(self, _number: int, _frame: FrameType | None) -> None:
        self._asked = True

    def wish(self) -> Wish:
        """What was asked for since the last look, once for any number of signals."""
        asked, self._asked = self._asked, False
        return self.meant() if asked else ""

    def meant(self) -> Wish:
        """What a SIGHUP means that has come now."""
        return "end" if self._terminal and not self._has_terminal() else "reload"
