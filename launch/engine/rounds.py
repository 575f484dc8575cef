"""What base and adapter scored, round after round, and whether the adapter is known to act by that."""

from __future__ import annotations

from dataclasses import dataclass

from launch.engine.repeats import MOST_ROUNDS, spread, usual
from launch.engine.scoring import ProofScores, Score

CLEAR = 4.0
"""What two scores of one model never differ by: so many times what others of its scores do."""

LONGEST = 3 * MOST_ROUNDS


@dataclass(frozen=True)
class Rounds:
    """The scores of both, and what they had to be held against when the last of them came."""

    base: tuple[Score, ...]
    own: tuple[Score, ...]
    needed: int
    """How often the adapter must differ from a base that repeats itself."""
    usual: Score
    """What the base scores on this engine."""

    @property
    def same(self) -> bool:
        """A score of the adapter's is one of the base's, to the digit: it acts on none of the text."""
        return not {score.values for score in self.base}.isdisjoint(score.values for score in self.own)

    @property
    def between(self) -> float:
        return min(mine.distance(theirs) for mine in self.own for theirs in self.base)

    @property
    def within(self) -> float:
        return max(spread(self.base), spread(self.own))

    @property
    def steady(self) -> bool:
        """Every score came again to the digit: the adapter's, and the base's as ever on this engine."""
        base, own = ({score.values for score in scores} for scores in (self.base, self.own))
        return len(own) == 1 and base == {self.usual.values}

    @property
    def acts(self) -> bool:
        """Whether the adapter acts.

        Where all is steady, each of its scores counts: without an effect all would be odd, and odd in the
        same way, while the base's is not. Where its own are not, those count that the base was asked beside.
        On an engine that does not repeat itself each must be further from each of the base's than any two of
        one model are: clearly, or in so many rounds that chance cannot have dealt them out so.
        """
        if self.same:
            return False
        if (self.steady and len(self.own) >= self.needed) or usual(self.base)[1] >= self.needed:
            return True
        if len(self.base) < self.needed:
            return False
        least = self.within if len(self.base) >= MOST_ROUNDS else CLEAR * self.within
        return self.between > least

    @property
    def go_on(self) -> bool:
        """Whether more rounds may tell: longer where the base repeats itself, though not each time."""
        asked = len(self.base)
        return asked < MOST_ROUNDS or (asked < LONGEST and 4 * usual(self.base)[1] > asked)

    @property
    def missing(self) -> int:
        """So many scores of the adapter's are still missing, if all that come are steady too."""
        return self.needed - len(self.own) if self.steady else 0

    def is_again(self, known: ProofScores | None) -> bool:
        """Base and adapter scored to the digit what they did when this adapter was proven to act.

        Weights without effect would have to be odd in the very digits that the proven ones score.
        """
        if known is None or known.own.values == known.base.values:
            return False
        own, base = ({score.values for score in scores} for scores in (self.own, self.base))
        return (own, base) == ({known.own.values}, {known.base.values})

    def kept(self) -> ProofScores:
        score, times = usual(self.own)
        return ProofScores(score, usual(self.base)[0], 0.0 if times > 1 else spread(self.own))
