"""What `evaluate` measures, as pure functions of the answer and of what was expected."""

from __future__ import annotations

import itertools
import json
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.errors import NOT_JSON

RESAMPLES = 2000
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean with its bootstrap confidence interval."""

    mean: float
    low: float
    high: float
    count: int

    def __str__(self) -> str:
        return f"{self.mean:.2f} ({self.low:.2f} to {self.high:.2f})"


def parse_groups(answer: str) -> list[list[str]] | None:
    """The members of each concept, or None where the answer is not JSON of the task's shape."""
    try:
        document = json.loads(answer)
    except NOT_JSON:
        return None
    concepts = document.get("concepts") if isinstance(document, dict) else None
    if not isinstance(concepts, list):
        return None
    groups: list[list[str]] = []
    for concept in concepts:
        members = concept.get("members") if isinstance(concept, dict) else None
        if not isinstance(members, list) or not all(isinstance(member, str) for member in members):
            return None
        if not isinstance(concept.get("definition"), str):
            return None
        groups.append(members)
    return groups


def together(groups: Sequence[Sequence[str]]) -> set[tuple[str, str]]:
    """Every pair of terms that share a group."""
    return {pair for group in groups for pair in itertools.combinations(sorted(set(group)), 2)}


def pairwise_f1(expected: Sequence[Sequence[str]], given: Sequence[Sequence[str]]) -> float:
    """F1 of the pairs put together; 1 where neither puts any, 0 where only one does.

    A term placed in two groups makes pairs with both, so naming everything everywhere costs precision.
    """
    wanted, found = together(expected), together(given)
    if not wanted and not found:
        return 1.0
    return 2 * len(wanted & found) / (len(wanted) + len(found))


def normal_name(answer: str) -> str:
    """A name as it is compared: lower case, spaces for underscores, no quotes or full stop around it."""
    return " ".join(answer.replace("_", " ").lower().split()).strip(" .\"'`*")


def name_exact(expected: str, answer: str) -> bool:
    return normal_name(answer) == normal_name(expected)


def name_in_lemmas(lemmas: Sequence[str], answer: str) -> bool:
    """Whether the answer is one of the synset's names, whichever."""
    return normal_name(answer) in {normal_name(lemma) for lemma in lemmas}


def most_common_share(expected: Sequence[str]) -> list[float]:
    """1 for each answer that is the commonest one, else 0."""
    names = [normal_name(answer) for answer in expected]
    commonest, _ = Counter(names).most_common(1)[0]
    return [float(name == commonest) for name in names]


def bootstrap(values: Sequence[float], seed: int = 0) -> Interval:
    """The mean and its percentile bootstrap interval (Efron 1979); the same for the same seed."""
    if not values:
        raise ValueError("no value to take a mean of")
    rng = random.Random(seed)
    size = len(values)
    means = sorted(sum(rng.choices(values, k=size)) / size for _ in range(RESAMPLES))
    tail = (1 - CONFIDENCE) / 2
    low = means[int(tail * RESAMPLES)]
    high = means[min(RESAMPLES - 1, int((1 - tail) * RESAMPLES))]
    return Interval(sum(values) / size, low, high, size)
