"""Groups of WordNet's nouns, and which of them no task may train on.

What is held out is decided by a hash, not by the seed, so no run can train on what another is measured
with. The synsets of the sample clusters are in neither part, nor is a term of the everyday clusters that
the pipeline is measured with a member in training.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gateway.errors import ConfigError
from launch.training.data.definitions import FUNCTION_WORDS
from launch.training.data.wordnet import Synset, WordNet

Task = Literal["concept", "naming"]
HELD_OUT_PERCENT: dict[Task, int] = {"concept": 8, "naming": 22}
DEFINITION_WORDS = 8
_SLUR = re.compile(r"\b(?:slur|offensive)\b")


@dataclass(frozen=True, slots=True)
class NounGroup:
    synset: Synset
    members: tuple[Synset, ...]


@dataclass(frozen=True, slots=True)
class Split:
    train: list[NounGroup]
    held_out: list[NounGroup]
    reserved: frozenset[str] = frozenset()
    """Synsets that are in neither part."""
    everyday: frozenset[str] = frozenset()
    """Words that are no member in training."""


def in_percent(key: str, percent: int) -> bool:
    """Whether a key's hash falls in so many of 100, for good."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:4]) % 100 < percent


def held_out(task: Task, key: str) -> bool:
    return in_percent(key, HELD_OUT_PERCENT[task])


def word_stems(text: str) -> set[str]:
    """Content words without their last letters, so that `swimmer` also finds `swims`."""
    words = re.findall(r"[a-z]+", text.lower())
    return {word[: max(4, len(word) - 3)] for word in words if len(word) > 2 and word not in FUNCTION_WORDS}


def leaks(names: Iterable[str], text: str) -> bool:
    """Whether a content word of any name, by its stem, begins a word of the text."""
    words = re.findall(r"[a-z]+", text.lower())
    return any(word.startswith(stem) for name in names for stem in word_stems(name) for word in words)


# -- the sample clusters, which neither task may train on ------------------------------------------


def cluster_terms(path: Path) -> frozenset[str]:
    """The terms of a file of sample clusters. Raises ConfigError: without them held-out words are trained."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        mend = f"cannot be read ({error.strerror}); install lora-gateway anew"
        raise ConfigError("clusters", str(path), mend) from error
    clusters = [json.loads(line) for line in lines if line.strip()]
    terms = [
        term if isinstance(term, str) else term["term"] for cluster in clusters for term in cluster["terms"]
    ]
    return frozenset(term.lower() for term in terms)


def cluster_synsets(net: WordNet, terms: Iterable[str]) -> frozenset[str]:
    """Every sense of each term, and what the most tagged sense is a kind of."""
    found: set[str] = set()
    for term in terms:
        senses = [net.synsets[offset] for offset in net.senses.get(term, ())]
        found.update(sense.offset for sense in senses)
        if senses:
            commonest = max(senses, key=lambda sense: sense.counts[sense.lemmas.index(term)])
            found.update(commonest.hypernyms)
    return frozenset(found)


def is_slur(synset: Synset) -> bool:
    return _SLUR.search(synset.gloss) is not None


def without(everyday: frozenset[str], groups: Iterable[NounGroup]) -> list[NounGroup]:
    """Groups to train on without these members, nor any that is a slur."""
    return [
        NounGroup(
            group.synset,
            tuple(kind for kind in group.members if kind.name not in everyday and not is_slur(kind)),
        )
        for group in groups
        if not is_slur(group.synset)
    ]


def commonness(net: WordNet, synset: Synset) -> float:
    return synset.counts[0] + net.gloss_words[synset.name] / 4
