"""SIGINT and SIGTERM, counted: the first asks for a clean stop, the second hurries it; SIGHUP reloads."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType

from gateway.config.process import has_terminal


class StopSignals:
    """Handlers only count; whoever waits looks at the count. Make one in the main thread."""

    def __init__(self, has_terminal: Callable[[], bool] = has_terminal) -> None:
        self._count = 0
        self._reloads = 0
        self._has_terminal = has_terminal
        self._terminal = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._counted)

    def _counted(self, _number: int, _frame: FrameType | None) -> None:
        self._count += 1

    def heed_reload(self) -> None:
        """From now on SIGHUP is no end but a wish, unless it says that our terminal was closed."""
        self._terminal = self._has_terminal()
        signal.signal(signal.SIGHUP, self._reload_counted)

    def _reload_counted(self, _number: int, _frame: FrameType | None) -> None:
        self._reloads += 1

    def reload_asked(self) -> bool:
        """True once for any number of SIGHUPs since the last look."""
        asked, self._reloads = self._reloads > 0, 0
        if asked and self._terminal and not self._has_terminal():
            self._count += 1
            return False
        return asked

    def asked(self) -> bool:
        return self._count > 0

    def hurried(self) -> bool:
        return self._count > 1
