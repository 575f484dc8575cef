"""How an engine repeats itself: whether a score comes again to the digit, whatever else is in the batch."""

from __future__ import annotations

import json
import math
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from launch.engine.scoring import FORM, Score

FALSE_ALARM = 1e-6
"""The share of adapters without effect that may be taken for one with an effect."""
LEAST_ROUNDS = 3
"""However seldom a score was odd: what makes one odd may last for two."""
MOST_ROUNDS = 20
"""2 ** -20 is less than FALSE_ALARM."""
MOST_REMEMBERED = 200
"""Scores of earlier starts that count: enough for LEAST_ROUNDS, few enough to be outweighed."""


@dataclass(frozen=True)
class Remembered:
    """How an engine of the same set-up repeated itself at earlier starts."""

    usual: tuple[float, ...]
    asked: int
    odd: int

    def to_json(self) -> str:
        return json.dumps({"form": FORM, "usual": self.usual, "asked": self.asked, "odd": self.odd})

    @classmethod
    def from_json(cls, text: str) -> Remembered | None:
        """None for what another release wrote: its text was another."""
        document = json.loads(text)
        if document.get("form") != FORM:
            return None
        return cls(tuple(document["usual"]), document["asked"], document["odd"])


class Repeats:
    """What was scored so far on one engine, by any of the threads that ask it."""

    def __init__(self, scores: Sequence[Score], before: Remembered | None = None) -> None:
        """`scores`: of the base, asked in company of several sizes; `before`: with the same usual score."""
        self.usual = usual(scores)[0]
        """The base's score that came most often."""
        self.asked = 0
        self.odd = 0
        """How many of the base's were another one: of a prompt that the engine cut in two, say."""
        self._before = before
        self._adapters = 0  # adapters' scores that had to come again, and how many did not
        self._adapters_odd = 0
        self._lock = threading.Lock()
        self.note(scores)

    def note(self, scores: Sequence[Score]) -> None:
        """More of the base's scores."""
        with self._lock:
            self.asked += len(scores)
            self.odd += sum(score.values != self.usual.values for score in scores)

    def note_adapter(self, scores: Sequence[Score]) -> None:
        """More of one adapter's, of which each was to be as the first.

        They say what the base's say, by the same sums; kernels for adapters alone may be less steady,
        which is no reason to ask more of all, so that these count for as long as none is odd.
        """
        with self._lock:
            self._adapters += len(scores) - 1
            self._adapters_odd += sum(score.values != scores[0].values for score in scores)

    @property
    def counted(self) -> tuple[int, int]:
        """Scores, and the odd ones of them: what is remembered counts until one is odd now."""
        asked, odd = self.asked, self.odd
        if self._before is not None and not odd:
            share = min(1.0, MOST_REMEMBERED / self._before.asked)
            asked += int(self._before.asked * share)
            odd += math.ceil(self._before.odd * share)
        if not self._adapters_odd:
            asked += self._adapters
        return asked, odd

    def false_alarm(self, times: int) -> float:
        """How likely so many more scores are odd without exception (rule of succession, again and again).

        It is the mean over all shares of odd scores there may be, each as likely as what was seen makes it.
        """
        asked, odd = self.counted
        likely = 1.0
        for more in range(times):
            likely *= (odd + 1 + more) / (asked + 2 + more)
        return likely

    @property
    def rounds(self) -> int:
        """How often an adapter must differ before that cannot be the engine's rounding.

        An adapter without effect differs where its score is odd and the base's is not: by a half at most
        whatever the engine does, since which of the two is asked first is left to chance.
        """
        enough = (
            times for times in range(LEAST_ROUNDS, MOST_ROUNDS) if self.false_alarm(times) <= FALSE_ALARM
        )
        return next(enough, MOST_ROUNDS)

    def remembered(self) -> Remembered:
        """For the next start: all that was seen, of which the odd ones are not forgotten."""
        asked, odd = self.counted
        if self._before is not None and self.odd:
            asked, odd = asked + self._before.asked, odd + self._before.odd
        return Remembered(self.usual.values, asked, odd)


def usual(scores: Sequence[Score]) -> tuple[Score, int]:
    """The score that came most often, and how often."""
    values, times = Counter(score.values for score in scores).most_common(1)[0]
    return next(score for score in scores if score.values == values), times


def spread(scores: Sequence[Score]) -> float:
    """The largest distance between two."""
    return max((one.distance(other) for one, other in combinations(scores, 2)), default=0.0)
