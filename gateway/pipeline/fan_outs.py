"""How many calls a pipeline is expected to have under way at once, by what its lists have had before."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping

from gateway.pipeline.compile import Fan, Pipeline

# `max_items` (64) would let in too few pipelines (design 56).
FIRST_GUESS = 8
FORGETS = 8
"""A list that was longer once counts for less with each shorter one: an eighth of the difference."""


class FanOuts:
    """Every pipeline's lists, by their names."""

    def __init__(self) -> None:
        self._lengths: dict[tuple[str, str, str], float] = {}

    def expected(self, pipeline: Pipeline, tasks: Collection[str]) -> Mapping[str, int]:
        """Calls at once, by task; of `tasks` alone."""
        calls = Counter(pipeline.called_once)
        for fan in pipeline.fans:
            length = self._lengths.get((pipeline.name, fan.source, fan.field), FIRST_GUESS)
            for task in fan.tasks:
                calls[task] += min(pipeline.max_items, math.ceil(length))
        for other in calls.keys() - tasks:
            del calls[other]
        return calls

    def saw(self, pipeline: Pipeline, fan: Fan, length: int) -> None:
        """A list had so many elements."""
        key = (pipeline.name, fan.source, fan.field)
        known = self._lengths.get(key, 0.0)
        self._lengths[key] = max(float(length), known - (known - length) / FORGETS)
