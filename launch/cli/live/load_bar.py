"""How far the engines have come with their start, as a bar below what the programs say."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console

from gateway.config.snapshot import FILE, EngineStatus, Snapshot, read_snapshot
from launch.base.progress import Report, terminal_progress
from launch.engine.log.engine_log import STAGES

LOOK_EVERY_S = 0.25
BEGINS = "checking base and adapters"
PROOFS = 3
"""Stages behind those of STAGES."""
ALMOST = 0.97
"""Of the bar, while it takes longer than the last time."""
SAYS_THE_SAME = re.compile(r"^engine: (?:\S+: )?starting \(")
"""Lines that the bar makes needless."""


class LoadBar:
    """Stands while an engine starts; of use in a terminal alone. Close it."""

    def __init__(
        self,
        state_dir: Path,
        *,
        console: Console | None = None,
        now_s: Callable[[], float] = time.time,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console = console or Console(stderr=True)
        self._file = state_dir / FILE
        self._now_s, self._monotonic_s = now_s, monotonic_s
        self._looked_s = float("-inf")
        before = read_snapshot(self._file) or Snapshot()
        self._before = before.version
        self._usual_s = {one.name: one.load_s for one in before.engines if one.load_s}
        self._standing = ExitStack()
        self._report: Report | None = None

    def shows(self, line: str) -> bool:
        """Whether a line of the control plane is to be shown beside it."""
        return not (self._console.is_terminal and SAYS_THE_SAME.match(line))

    def look(self) -> None:
        """Show how far the engines' start has come. Call it often: it looks each LOOK_EVERY_S at most."""
        if not self._console.is_terminal or self._monotonic_s() - self._looked_s < LOOK_EVERY_S:
            return
        self._looked_s = self._monotonic_s()
        snapshot = read_snapshot(self._file)
        if snapshot is None or snapshot.version <= self._before:  # of a life before
            told: tuple[str, float | None] | None = (BEGINS, None)
        else:
            told = far_of(snapshot.engines, self._now_s(), self._usual_s)
        if told is None:
            self.close()
            return
        if self._report is None:
            self._report = self._standing.enter_context(terminal_progress(self._console))
        self._report(*told)

    def close(self) -> None:
        self._standing.close()
        self._report = None


def far_of(
    engines: Sequence[EngineStatus], now_s: float, usual_s: Mapping[str, float]
) -> tuple[str, float | None] | None:
    """What those that start are doing, and how far they are, 0 to 1; None where none starts.

    `usual_s` has what starts took in an earlier life, by the engine's name.
    """
    starting = [one for one in engines if one.state == "starting"]
    if not starting:
        return None
    stage = starting[0].stage or STAGES[0][1]
    ready = sum(one.state == "ready" for one in engines)
    which = "engine" if len(engines) == 1 else f"{ready} of {len(engines)} engines ready"
    return f"{which}: {stage}", sum(_far(one, now_s, usual_s) for one in starting) / len(starting)


def _far(engine: EngineStatus, now_s: float, usual_s: Mapping[str, float]) -> float:
    """By the time that its last start took, else by the stages that are behind it."""
    expected_s = engine.load_s or usual_s.get(engine.name)
    if expected_s and engine.started_at:
        return min(ALMOST, max(0.0, now_s - engine.started_at) / expected_s)
    names = [name for _, name in STAGES]
    passed = names.index(engine.stage) if engine.stage in names else _proofs_passed(engine.stage)
    return passed / (len(names) + PROOFS)


def _proofs_passed(stage: str) -> int:
    """Behind the engine's own stages the base is proven, then adapters, then both in one batch."""
    if not stage.startswith("proving"):
        return 0
    return len(STAGES) + (2 if stage == "proving a mixed batch" else int("@" in stage))
