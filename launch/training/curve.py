"""The loss on what is held out against the minutes, and whether going on still pays. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

LEAST_GAIN = 0.002
"""A loss that fell by less than so much of itself has not fallen."""


@dataclass(frozen=True, slots=True)
class Point:
    """One look at the adapter on its way; the loss is of an answer token."""

    minutes: float
    steps: int
    loss: float

    def rendered(self) -> dict[str, float]:
        return {name: round(value, 4) for name, value in asdict(self).items()}


@dataclass(slots=True)
class Curve:
    """The points so far; the best is the lowest, and a training keeps the adapter as it was there."""

    points: list[Point] = field(default_factory=list)
    best: Point | None = None
    _since: int = 0

    def add(self, point: Point) -> bool:
        """Whether it is better than all before it."""
        self.points.append(point)
        if self.best is not None and point.loss > self.best.loss * (1 - LEAST_GAIN):
            self._since += 1
            if point.loss >= self.best.loss:
                return False
        else:
            self._since = 0
        self.best = point
        return True

    def pays(self, patience: int) -> bool:
        """Whether one of the last `patience` points gained something; before there are as many, it does."""
        return self._since < patience
