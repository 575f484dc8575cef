"""Whose answer is it? Each adapter's answers, asked alone, and every later answer held against them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from launch.proof import NOISE, Canary

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
Answers = tuple[Canary, ...]
"""One for each of PROMPTS."""


@dataclass(frozen=True)
class Verdict:
    """`what` is own, another's, the base's, nobody's, or unknown for a model that was not asked before.

    Distances are in log-probability.
    """

    what: str
    nearest: str = ""
    own_distance: float = 0.0
    nearest_distance: float = 0.0

    def __str__(self) -> str:
        near = f"{self.nearest_distance:.3f} from {self.nearest}"
        return f"{self.what}: {self.own_distance:.3f} from its own, {near}"


@dataclass(frozen=True)
class Truth:
    """The engine's own answers to every prompt, by its name of the model."""

    alone: Mapping[str, Answers]
    base: str

    def judge(self, model: str, prompt: int, answer: Canary) -> Verdict:
        """Whose answer it is, where `model` is said to have given it."""
        if model not in self.alone:
            return Verdict("unknown")
        own = answer.distance(self.alone[model][prompt])
        if own <= NOISE:
            return Verdict("own", model, own, own)
        nearest = min(self.alone, key=lambda name: answer.distance(self.alone[name][prompt]))
        distance = answer.distance(self.alone[nearest][prompt])
        if nearest == model or distance > NOISE:
            return Verdict("nobody's", nearest, own, distance)
        return Verdict("the base's" if nearest == self.base else "another's", nearest, own, distance)

    def apart(self) -> tuple[float, int]:
        """How well answers can be told apart: the share over all pairs of models and prompts, and for the
        worst pair the number of prompts. An answer of the wrong one of two that are not apart goes unseen.
        """
        pairs = [
            [
                first.distance(second) > 2 * NOISE
                for first, second in zip(self.alone[one], self.alone[other], strict=True)
            ]
            for one, other in combinations(self.alone, 2)
        ]
        told = [sum(pair) for pair in pairs]
        return sum(told) / (len(pairs) * len(PROMPTS)), min(told)


def ask_alone(ask: Callable[[str, str], Canary], models: Sequence[str], base: str) -> Truth:
    """`ask` takes model and prompt."""
    return Truth({model: tuple(ask(model, prompt) for prompt in PROMPTS) for model in models}, base)
