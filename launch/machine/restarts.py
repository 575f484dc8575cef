"""How often a program is started again, and after how long. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from gateway.config.snapshot import FailureKind

MOST_BACKOFF_S = 60.0
SETTLED_S = 300.0
"""An engine that has served for so long begins its count of restarts anew."""


@dataclass(frozen=True)
class Restarts:
    """How often in a row an engine failed, and what follows; times are seconds."""

    most: int
    backoff_s: float
    in_a_row: int = 0
    settled_s: float = SETTLED_S

    def failed(self, served_s: float, kind: FailureKind) -> tuple[Restarts, float | None]:
        """The count after one more failure, and the delay until the next start; None where none follows.

        What the configuration causes comes again with each start, so it is not tried again.
        """
        count = 1 if served_s >= self.settled_s else self.in_a_row + 1
        counted = replace(self, in_a_row=count)
        if kind == "configuration" or count > self.most:
            return counted, None
        return counted, min(self.backoff_s * 2 ** (count - 1), MOST_BACKOFF_S)

    def anew(self) -> Restarts:
        return replace(self, in_a_row=0)
