"""Examples of the demo's task `naming`: a definition and some members in, the name of the concept out.

A fifth of the common nouns are held out, with every other synset that bears one of their names. What is
trained on is weighed by how often people mean it, by WordNet's counts of tagged senses. What is held out
stays as it was first drawn, so that scores compare over the years.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

from launch.training.data.definitions import sentence, shorten
from launch.training.data.nouns import (
    DEFINITION_WORDS,
    NounGroup,
    Split,
    commonness,
    held_out,
    leaks,
    without,
)
from launch.training.data.wordnet import Synset, WordNet
from launch.training.examples import Example

SENTENCES = 0.6
MOST_REPEATS = 4


def naming_split(
    net: WordNet, reserved: frozenset[str] = frozenset(), everyday: frozenset[str] = frozenset()
) -> Split:
    """Nouns with two or more kinds. Held-out nouns are common; no name of theirs is a name in training."""
    groups: list[NounGroup] = []
    for synset in net.synsets.values():
        if synset.offset in reserved or not re.fullmatch(r"[a-z]+([ -][a-z]+)?", synset.name):
            continue
        definition = shorten(synset.definition, 40)
        members = tuple(
            kind
            for kind in net.hyponyms(synset)
            if kind.offset not in reserved and not leaks(synset.lemmas, kind.name)
        )
        if len(members) >= 2 and len(definition.split()) >= 3 and not leaks(synset.lemmas, definition):
            groups.append(NounGroup(synset, members))
    tested = [
        group for group in groups if is_common_name(net, group) and held_out("naming", group.synset.name)
    ]
    names = {lemma for group in tested for lemma in group.synset.lemmas}
    train = without(everyday, [group for group in groups if names.isdisjoint(group.synset.lemmas)])
    return Split(train, tested)


def is_common_name(net: WordNet, group: NounGroup) -> bool:
    synset = group.synset
    return len(group.members) >= 3 and synset.counts[0] > 1 and net.sense_share(synset.name, synset) > 0.5


def naming_example(net: WordNet, group: NounGroup, rng: random.Random, sentences: float = 0.0) -> Example:
    """Two to four members, the better known more often; the definition whole or cut.

    `sentences`: the share whose definition is a sentence, as `concept` writes it.
    """
    synset = group.synset
    ranked = sorted(group.members, key=lambda kind: rng.random() / (1 + commonness(net, kind)))
    members = list(dict.fromkeys(kind.name for kind in ranked))[: rng.choice((2, 3, 3, 4, 4))]
    definition = shorten(synset.definition, DEFINITION_WORDS if rng.random() < 0.3 else 24)
    if sentences and rng.random() < sentences:
        definition = sentence(synset.definition)
    prompt = f"Definition: {definition}\nMembers: {', '.join(members)}"
    return Example(prompt, synset.name, (synset.offset,), lemmas=synset.lemmas)


def naming_epoch(net: WordNet, split: Split, rng: random.Random) -> Iterator[Example]:
    """Every noun with fresh members, once and again for each time that its sense count has doubled twice."""
    order = [group for group in split.train for _ in range(repeats(group.synset))]
    rng.shuffle(order)
    for group in order:
        yield naming_example(net, group, rng, SENTENCES)


def repeats(synset: Synset) -> int:
    """How often an epoch has it: 1 for what was never tagged, 2 to 4 for 1, 4 and 16 times and more."""
    return min(MOST_REPEATS, 1 + (synset.counts[0].bit_length() + 1) // 2)
