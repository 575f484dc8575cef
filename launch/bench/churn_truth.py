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
class Truth:
    """The engine's own answers to every prompt, by its name of the model."""

    alone: Mapping[str, Answers]
    base: str

    def verdict(self, model: str, prompt: int, answer: Canary) -> str:
        """`own`, or whose it is: `base`, `other:<id>`, `nobody`; `unknown` for a model that was not asked."""
        if model not in self.alone:
            return "unknown"
        if answer.distance(self.alone[model][prompt]) <= NOISE:
            return "own"
        nearest = min(self.alone, key=lambda name: answer.distance(self.alone[name][prompt]))
        if answer.distance(self.alone[nearest][prompt]) > NOISE:
            return "nobody"
        return "base" if nearest == self.base else f"other:{nearest}"

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
