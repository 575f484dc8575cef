"""How an engine repeats itself: whether a score comes again to the digit, whatever else is in the batch."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from launch.engine.scoring import Score

FALSE_ALARM = 1e-6
"""The share of adapters without effect that may be taken for one with an effect."""
MOST_ROUNDS = 20
"""2 ** -20 is less than FALSE_ALARM."""


class Repeats:
    """The base's scores so far, on one engine."""

    def __init__(self, scores: Sequence[Score]) -> None:
        """`scores`: of the base, asked in company of several sizes."""
        self.usual = usual(scores)[0]
        """The score that came most often."""
        self.asked = 0
        self.odd = 0
        """How many were another one: of a prompt that the engine cut in two, say, which rounds otherwise."""
        self.note(scores)

    def note(self, scores: Sequence[Score]) -> None:
        """More of the base's scores."""
        self.asked += len(scores)
        self.odd += sum(score.values != self.usual.values for score in scores)

    @property
    def odd_share(self) -> float:
        """What the next score is expected to be odd by (rule of succession)."""
        return (self.odd + 1) / (self.asked + 2)

    @property
    def rounds(self) -> int:
        """How often an adapter must differ before that cannot be the engine's rounding.

        An adapter without effect differs where its score is odd and the base's is not: by `odd_share` each
        time, and by a half at most whatever the engine does, since which of the two is asked first is left
        to chance.
        """
        needed = math.log(FALSE_ALARM) / math.log(self.odd_share)
        return min(MOST_ROUNDS, math.ceil(needed - 1e-9))


def usual(scores: Sequence[Score]) -> tuple[Score, int]:
    """The score that came most often, and how often."""
    values, times = Counter(score.values for score in scores).most_common(1)[0]
    return next(score for score in scores if score.values == values), times


def spread(scores: Sequence[Score]) -> float:
    """The largest distance between two."""
    return max((one.distance(other) for one in scores for other in scores if one is not other), default=0.0)
