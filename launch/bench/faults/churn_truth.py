"""Whose answer is it? Each adapter's answers, asked alone, and every later answer held against them.

A batch of another size rounds otherwise, so no answer is held against its own by a fixed distance: it is its
own where it is much nearer to that than to any other model's. How much rounding moves an answer is measured
first, and models that it could confuse are not told apart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import combinations

from launch.engine.scoring import Score

PROMPTS = tuple(
    f"Members: {members}\n"
    for members in (
        "apple, pear, plum",
        "hammer, saw, drill",
        "oak, birch, pine",
        "dog, cat, mouse",
        "river, lake, sea",
    )
)
NEARER = 2.0
"""So many times nearer is whose it is."""
APART = 4.0
"""In roundings: an answer that one has moved is NEARER to its own than to any that is so far away."""
Answers = tuple[Score, ...]
"""One for each of PROMPTS."""


@dataclass(frozen=True)
class Verdict:
    """`what` is own, another's, the base's, nobody's, untold where no other is apart, or unknown for a model
    that was not asked before. Distances are in log-probability.
    """

    what: str
    nearest: str = ""
    own_distance: float = 0.0
    nearest_distance: float = 0.0

    def __str__(self) -> str:
        near = f"{self.nearest_distance:.3f} from {self.nearest}"
        return f"{self.what}: {self.own_distance:.3f} from its own, {near}"


@dataclass(frozen=True)
class ExpectedAnswers:
    """The engine's own answers to every prompt, by its name of the model."""

    alone: Mapping[str, Answers]
    base: str
    rounding: Mapping[str, float]
    """By model: the most that an answer in a batch of all models differs from the same alone."""

    def judge(self, model: str, prompt: int, answer: Score) -> Verdict:
        """Whose answer it is, where `model` is said to have given it."""
        if model not in self.alone:
            return Verdict("unknown")
        own = answer.distance(self.alone[model][prompt])
        others = [name for name in self.alone if self._apart(model, name, prompt)]
        if not others:
            return Verdict("untold", own_distance=own)
        nearest = min(others, key=lambda name: answer.distance(self.alone[name][prompt]))
        distance = answer.distance(self.alone[nearest][prompt])
        if NEARER * own <= distance:
            return Verdict("own", nearest, own, distance)
        if NEARER * distance <= own:
            return Verdict("the base's" if nearest == self.base else "another's", nearest, own, distance)
        return Verdict("nobody's", nearest, own, distance)

    def apart(self) -> tuple[float, int]:
        """How well answers can be told apart: the share over all pairs of models and prompts, and for the
        worst pair the number of prompts. An answer of the wrong one of two that are not apart goes unseen.
        """
        told = [
            sum(self._apart(one, other, prompt) for prompt in range(len(PROMPTS)))
            for one, other in combinations(self.alone, 2)
        ]
        return sum(told) / (len(told) * len(PROMPTS)), min(told)

    def _apart(self, one: str, other: str, prompt: int) -> bool:
        between = self.alone[one][prompt].distance(self.alone[other][prompt])
        return between > APART * max(self.rounding[one], self.rounding[other])


def learn_answers(ask: Callable[[str, str], Score], models: Sequence[str], base: str) -> ExpectedAnswers:
    """`ask` takes model and prompt. Each model with no other beside it, then all in one batch."""
    rounding = dict.fromkeys(models, 0.0)
    with ThreadPoolExecutor(max(len(models), len(PROMPTS))) as threads:
        alone = {
            model: tuple(threads.map(lambda prompt, model=model: ask(model, prompt), PROMPTS))
            for model in models
        }
        for number, prompt in enumerate(PROMPTS):
            together = threads.map(lambda model, prompt=prompt: ask(model, prompt), models)
            for model, answer in zip(models, together, strict=True):
                rounding[model] = max(rounding[model], answer.distance(alone[model][number]))
    return ExpectedAnswers(alone, base, rounding)
