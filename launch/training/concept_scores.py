"""What a pipeline's named groups are worth, as pure functions of its document and of what was expected."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gateway.errors import NOT_JSON
from launch.training.data.definitions import FUNCTION_WORDS
from launch.training.examples import Example
from launch.training.scores import name_exact, name_in_lemmas, normal_name, pairwise_f1

LEAST_OVERLAP = 0.5
"""A group that shares no more of its terms with an expected one stands for none."""


@dataclass(frozen=True, slots=True)
class NamedGroup:
    name: str
    definition: str
    members: tuple[str, ...]


def named_groups(text: str) -> list[NamedGroup] | None:
    """The concepts of a document; None where it is none."""
    try:
        concepts = json.loads(text)["concepts"]
        return [NamedGroup(one["name"] or "", one["definition"], tuple(one["members"])) for one in concepts]
    except (*NOT_JSON, KeyError, TypeError):
        return None


def pipeline_scores(example: Example, groups: Sequence[NamedGroup]) -> Mapping[str, float]:
    """Every metric of one document, each between 0 and 1; those of names where the example has some."""
    counts = Counter(member for group in groups for member in group.members)
    names = {normal_name(group.name) for group in groups}
    found = {
        "pairwise F1": pairwise_f1(example.groups, [group.members for group in groups]),
        "terms in exactly one group": share([counts[term] == 1 for term in example.terms]),
        "names that differ": len(names) / len(groups) if groups else 0.0,
        "definitions that end as a sentence": share([is_sentence(group.definition) for group in groups]),
    }
    if example.names:
        named = [name_given(groups, expected) or "" for expected in example.groups]
        pairs = list(zip(named, example.names, strict=True))
        found["exact names"] = share([name_exact(ways[0], name) for name, ways in pairs])
        found["acceptable names"] = share([name_in_lemmas(ways, name) for name, ways in pairs])
    return found


def name_given(groups: Sequence[NamedGroup], expected: Sequence[str]) -> str | None:
    """The name of the group that stands for an expected one; None where none shares most of its terms."""
    wanted = set(expected)
    shares = [
        (len(wanted & set(group.members)) / len(wanted | set(group.members)), group.name) for group in groups
    ]
    overlap, name = max(shares, default=(0.0, ""))
    return normal_name(name) if overlap > LEAST_OVERLAP else None


def is_sentence(definition: str) -> bool:
    """Whether it ends with a full stop, and not behind a word that promises more."""
    words = definition.rstrip(".").split()
    return definition.endswith(".") and len(words) > 1 and words[-1].lower() not in FUNCTION_WORDS


def share(held: Sequence[bool]) -> float:
    """Of all, those that are true; 0 of none."""
    return sum(held) / len(held) if held else 0.0
