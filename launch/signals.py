"""SIGINT and SIGTERM, counted: the first asks for a clean stop, the second hurries it."""

from __future__ import annotations

import signal
from types import FrameType


class StopSignals:
    """Handlers only count; whoever waits looks at the count. Make one in the main thread."""

    def __init__(self) -> None:
        self._count = 0
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._counted)

    def _counted(self, _number: int, _frame: FrameType | None) -> None:
        self._count += 1

    def asked(self) -> bool:
        return self._count > 0

    def hurried(self) -> bool:
        return self._count > 1
