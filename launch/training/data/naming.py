"""Examples of the demo's task `naming`: a definition and some members in, the name of the concept out.

A fifth of the common nouns are held out, with every other synset that bears one of their names. What is
trained on is weighed by how often people mean it, by WordNet's counts of tagged senses. What is held out
stays as it was first drawn, so that scores compare over the years.

In training the answer begins with a space. A word after a space is what a base has read, and most often one
token; at the start of a line in lower case the same word is pieces: `ins` `urance`. A few answers stand in
JSON that is given up to the name, as it is where a client asks for a schema.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Iterator
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
from launch.training.data.others import question
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
IN_JSON = 0.08
TOOLS_WITHOUT_ARGUMENTS = 0.04
TOOLS = ("save", "put", "name", "ping", "get_time", "list_all", "open_door", "status_of_order")
KEYS = ("name", "concept", "answer", "label", "title", "word")


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
    return Split(train, tested)


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
    prompt = f"Definition: {definition}" + (f"\nMembers: {', '.join(members)}" if members else "")
    return Example(prompt, synset.name, (synset.offset,), lemmas=synset.lemmas)


def naming_epoch(net: WordNet, split: Split, rng: random.Random) -> Iterator[Example]:
    """Some thousand nouns by their weights, with fresh members; one that weighs much more than once."""
    weights = [weight(net, group) for group in split.train]
    scale = EPOCH_EXAMPLES / sum(weights)
    order: list[NounGroup] = []
    for group, own in zip(split.train, weights, strict=True):
        order += [group] * (int(own * scale) + (rng.random() < own * scale % 1))
    rng.shuffle(order)
    for group in order:
        example = naming_example(net, group, rng, SENTENCES)
        drawn = rng.random()
        if drawn < IN_JSON:
            yield in_json(example, rng)
        elif drawn < IN_JSON + TOOLS_WITHOUT_ARGUMENTS:
            yield without_arguments(example, rng)
        else:
            yield replace(example, answer=f" {example.answer}")


def in_json(example: Example, rng: random.Random) -> Example:
    """The name as the only field of an object, by any key, or as the arguments of a tool's call."""
    given = f'{{"{rng.choice(KEYS)}":{rng.choice(("", " "))}"'
    end = '"}'
    if rng.random() < 0.25:
        given, end = _call(rng, given, end)
    return replace(example, answer=f"{given}{example.answer}{end}", given=given)


def without_arguments(example: Example, rng: random.Random) -> Example:
    """A call that is asked for, of a tool that takes nothing; half of them to a question of another kind.

    Where whitespace may stand as well, a base writes it there without end.
    """
    given, end = _call(rng, "{", "}")
    prompt = example.prompt if rng.random() < 0.5 else question(rng)
    return replace(example, prompt=prompt, answer=f"{given}{end}", given=given)


def _call(rng: random.Random, given: str, end: str) -> tuple[str, str]:
    """How a tool's call begins up to there and ends, in the two forms that engines hold one to."""
    name = rng.choice(TOOLS)
    if rng.random() < 0.5:
        return f'[{{"name": "{name}", "parameters": {given}', f"{end}}}]"
    return f'<tool_call>\n{{"name": "{name}", "arguments": {given}', f"{end}}}\n</tool_call>"


def weight(net: WordNet, group: NounGroup) -> float:
    """By the doublings of its sense count, this sense's share of the name, its kinds and its words."""
    synset, kinds = group.synset, min(2, len(group.members))
    if not synset.counts[0]:
        own = NEVER_TAGGED[kinds]
    else:
        doublings = min(MOST_DOUBLINGS, math.log2(1 + synset.counts[0]))
        own = doublings * (0.35 + 0.65 * net.sense_share(synset.name, synset)) * TAGGED[kinds]
    return own * TWO_WORDS if " " in synset.name else own
