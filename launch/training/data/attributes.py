"""Examples of the demo's task `attribute`: a property with its meaning in, what it is a property of out.

WordNet ties some adjectives to the noun that they are values of ("high", "low": "stature"). What is similar
to such an adjective in WordNet ("towering") is a value of the same noun. Where an adjective is tied to two
nouns, or its own words give the noun away, it is left out.

What is held out is decided by a hash of the synset's first adjective; every other synset that shares an
adjective with a held-out one is left out of training, so that no measured adjective was ever trained on. The
nouns themselves are the same in both, and only those with enough adjectives in training are measured.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from dataclasses import dataclass

from launch.training.data.definitions import shorten
from launch.training.data.nouns import in_percent, leaks
from launch.training.data.wordnet import Synset, WordNet
from launch.training.examples import Example

HELD_OUT_PERCENT = 15
MEANING_WORDS = 16
LEAST_TRAINED = 8
"""Adjectives that a measured noun has in training."""
_TERM = re.compile(r"[a-z]{3,16}(-[a-z]{2,12})?")


@dataclass(frozen=True, slots=True)
class Property:
    """One sense of an adjective and the one noun it is a value of."""

    synset: Synset
    noun: Synset


@dataclass(frozen=True, slots=True)
class AttributeSplit:
    train: list[Property]
    held_out: list[Property]


def properties(nouns: WordNet, adjectives: WordNet) -> list[Property]:
    """Heads tied to one noun, and what is similar to them, in WordNet's order."""
    tied: dict[str, set[str]] = {}
    for synset in adjectives.synsets.values():
        own = {link.offset for link in synset.links if link.symbol == "=" and link.part == "n"}
        similar = [link.offset for link in synset.links if link.symbol == "&"]
        for offset in [synset.offset, *similar] if own else []:
            tied.setdefault(offset, set()).update(own)
    found = []
    for synset in adjectives.synsets.values():
        ends = tied.get(synset.offset, set())
        if len(ends) == 1 and len(synset.definition.split()) >= 2:
            noun = nouns.synsets[next(iter(ends))]
            if not leaks(noun.lemmas, synset.definition):
                found.append(Property(synset, noun))
    return found


def terms_of(one: Property) -> list[str]:
    """Its adjectives that are plain words and do not hold the noun."""
    return [
        lemma
        for lemma in dict.fromkeys(one.synset.lemmas)
        if _TERM.fullmatch(lemma) and not leaks(one.noun.lemmas, lemma)
    ]


def attribute_split(nouns: WordNet, adjectives: WordNet) -> AttributeSplit:
    usable = [one for one in properties(nouns, adjectives) if terms_of(one)]
    kept_back = [one for one in usable if in_percent(one.synset.name, HELD_OUT_PERCENT)]
    names = {lemma for one in kept_back for lemma in one.synset.lemmas}
    train = [one for one in usable if names.isdisjoint(one.synset.lemmas)]
    trained = Counter(one.noun.offset for one in train)
    return AttributeSplit(train, [one for one in kept_back if trained[one.noun.offset] >= LEAST_TRAINED])


def attribute_example(one: Property, term: str) -> Example:
    prompt = f"{term}: {shorten(one.synset.definition, MEANING_WORDS)}"
    return Example(prompt, one.noun.name, (one.synset.offset,), lemmas=one.noun.lemmas)


def attribute_training(split: AttributeSplit, seed: int) -> list[Example]:
    """Every adjective of every sense once, shuffled."""
    examples = [attribute_example(one, term) for one in split.train for term in terms_of(one)]
    random.Random(seed).shuffle(examples)
    return examples


def attribute_held_out(split: AttributeSplit, count: int) -> list[Example]:
    """One adjective of each of so many senses."""
    rng = random.Random(20_05)  # for good: what is measured with is part of the project
    chosen = rng.sample(split.held_out, min(count, len(split.held_out)))
    return [attribute_example(one, rng.choice(terms_of(one))) for one in chosen]
