"""Examples of the demo's task `naming`: a definition and some members in, the name of the concept out.

A fifth of the common nouns are held out, with every other synset that bears one of their names. What is
trained on is weighed by how often people mean it, by WordNet's counts of tagged senses. What is held out
stays as it was first drawn, so that scores compare over the years.

In training the answer begins with a space. A word after a space is what a base has read, and most often one
token; at the start of a line in lower case the same word is pieces: `ins` `urance`. A few answers stand in
JSON, as where a client asks for a schema (`launch.training.data.objects`). Half of all are groups of
well-known words under the name that people use (`launch.training.data.groups`).
"""

from __future__ import annotations

import itertools
import math
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

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
from launch.training.data.objects import in_json, said_before, several_fields, without_arguments
from launch.training.data.wordnet import Synset, WordNet
from launch.training.examples import Example

SENTENCES = 0.3
EPOCH_EXAMPLES = 5_000
MOST_DOUBLINGS = 4.0
TAGGED = (0.14, 0.25, 1.0)
"""What a noun that people were seen to mean counts without kinds, with one, and with more: what is asked has
more, and those without widen what can be an answer.
"""
NEVER_TAGGED = (0.007, 0.02, 0.3)
TWO_WORDS = 0.6
KNOWN_GROUPS = 0.5
"""Of all, where there are any."""
_MEMBERS = "Members: "


def naming_split(
    net: WordNet, reserved: frozenset[str] = frozenset(), everyday: frozenset[str] = frozenset()
) -> Split:
    """Nouns with any number of kinds. Held-out nouns are common; no name of theirs is a name in training."""
    groups = [group for synset in net.synsets.values() if (group := _group(net, synset, reserved))]
    tested = [
        group for group in groups if is_common_name(net, group) and held_out("naming", group.synset.name)
    ]
    names = {lemma for group in tested for lemma in group.synset.lemmas}
    train = without(everyday, [group for group in groups if names.isdisjoint(group.synset.lemmas)])
    return Split(train, tested, reserved, everyday)


def _group(net: WordNet, synset: Synset, reserved: frozenset[str]) -> NounGroup | None:
    """The noun with those of its kinds that do not tell its name; None where its definition does."""
    if synset.offset in reserved or not re.fullmatch(r"[a-z]+([ -][a-z]+)?", synset.name):
        return None
    definition = shorten(synset.definition, 40)
    if len(definition.split()) < 3 or leaks(synset.lemmas, definition):
        return None
    kinds = (kind for kind in net.hyponyms(synset) if kind.offset not in reserved)
    return NounGroup(synset, tuple(kind for kind in kinds if not leaks(synset.lemmas, kind.name)))


def is_common_name(net: WordNet, group: NounGroup) -> bool:
    synset = group.synset
    return len(group.members) >= 3 and synset.counts[0] > 1 and net.sense_share(synset.name, synset) > 0.5


def naming_example(net: WordNet, group: NounGroup, rng: random.Random, sentences: float = 0.0) -> Example:
    """Two to four members if there are so many, the better known more often; the definition whole or cut.

    `sentences`: the share whose definition is a sentence, as `concept` writes it.
    """
    synset = group.synset
    ranked = sorted(group.members, key=lambda kind: rng.random() / (1 + commonness(net, kind)))
    members = list(dict.fromkeys(kind.name for kind in ranked))[: rng.choice((2, 3, 3, 4, 4))]
    definition = shorten(synset.definition, DEFINITION_WORDS if rng.random() < 0.3 else 24)
    if sentences and rng.random() < sentences:
        definition = sentence(synset.definition)
    return Example(naming_prompt(definition, members), synset.name, (synset.offset,), lemmas=synset.lemmas)


def naming_prompt(definition: str, members: Sequence[str]) -> str:
    """As the demo's pipeline asks for a name; without the line of what there is none of."""
    lines = [f"Definition: {definition}"] if definition else []
    if members:
        lines.append(f"{_MEMBERS}{', '.join(members)}")
    return "\n".join(lines)


def members_in(prompt: str) -> list[str]:
    """What `naming_prompt` was given of members."""
    last = prompt.rpartition("\n")[2]
    return last.removeprefix(_MEMBERS).split(", ") if last.startswith(_MEMBERS) else []


def naming_epoch(
    net: WordNet, split: Split, rng: random.Random, known: Sequence[Example] = ()
) -> Iterator[Example]:
    """Some thousand nouns by their weights, with fresh members; one that weighs much more than once. Of the
    `known` groups as many stand between them.
    """
    weights = [weight(net, group) for group in split.train]
    scale = EPOCH_EXAMPLES / sum(weights)
    order: list[NounGroup] = []
    for group, own in zip(split.train, weights, strict=True):
        order += [group] * (int(own * scale) + (rng.random() < own * scale % 1))
    rng.shuffle(order)
    between = itertools.cycle(rng.sample(known, len(known)))
    for group in order:
        while known and rng.random() < KNOWN_GROUPS:
            yield _as_a_word(next(between), rng)
        (answered,) = rng.choices([*ANSWERS], [*ANSWERS.values()])
        yield answered(naming_example(net, group, rng, SENTENCES), rng)


def _as_a_word(example: Example, _rng: random.Random) -> Example:
    return replace(example, answer=f" {example.answer}")


ANSWERS: Mapping[Callable[[Example, random.Random], Example], float] = {
    in_json: 0.08,
    without_arguments: 0.04,
    several_fields: 0.12,
    said_before: 0.12,
    _as_a_word: 0.64,
}
"""How often an answer has which form."""


def weight(net: WordNet, group: NounGroup) -> float:
    """By the doublings of its sense count, this sense's share of the name, its kinds and its words."""
    synset, kinds = group.synset, min(2, len(group.members))
    if not synset.counts[0]:
        own = NEVER_TAGGED[kinds]
    else:
        doublings = min(MOST_DOUBLINGS, math.log2(1 + synset.counts[0]))
        own = doublings * (0.35 + 0.65 * net.sense_share(synset.name, synset)) * TAGGED[kinds]
    return own * TWO_WORDS if " " in synset.name else own
