"""SIGINT and SIGTERM, counted: the first asks for a clean stop, the second hurries it; SIGHUP reloads."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType

from gateway.config.process import HangUp, has_terminal


class StopSignals:
    """Handlers only count; whoever waits looks at the count. Make one in the main thread."""

    def __init__(self, has_terminal: Callable[[], bool] = has_terminal) -> None:
        self._count = 0
        self._has_terminal = has_terminal
        self._hang_up: HangUp | None = None
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._counted)

    def _counted(self, _number: int, _frame: FrameType | None) -> None:
        self._count += 1

    def heed_reload(self) -> None:
        """From now on SIGHUP is no end but a wish, unless it says that our terminal was closed."""
        self._hang_up = HangUp(self._has_terminal)

    def reload_asked(self) -> bool:
        """True once for any number of SIGHUPs since the last look."""
        wish = self._hang_up.wish() if self._hang_up is not None else ""
        if wish == "end":
            self._count += 1
        return wish == "reload"

    def asked(self) -> bool:
        return self._count > 0

    def hurried(self) -> bool:
        return self._count > 1
