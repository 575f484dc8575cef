"""Examples of the demo's task `relationship`: two terms in, the relation of the first to the second out.

The relations are a closed list, from WordNet's pointers between nouns and, for opposites, adjectives. Terms
are well known and most often meant in the sense that bears the pointer, since the prompt gives no sense.

What is held out is decided by a hash of the term: an example is held out where both of its terms are, and in
training where neither is, so that no measured term was ever trained on.
"""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from launch.training.data.nouns import in_percent
from launch.training.data.wordnet import Synset, WordNet
from launch.training.examples import Example

RELATIONS = (
    "is a kind of",
    "has the kind",
    "is part of",
    "has the part",
    "is a member of",
    "has the member",
    "is the opposite of",
    "means the same as",
    "is not related to",
)
INVERSE = {
    "is a kind of": "has the kind",
    "is part of": "has the part",
    "is a member of": "has the member",
    "is the opposite of": "is the opposite of",
    "means the same as": "means the same as",
    "is not related to": "is not related to",
}
POINTERS = {"@": "is a kind of", "#p": "is part of", "#m": "is a member of", "!": "is the opposite of"}
HELD_OUT_PERCENT = 25
KIND_LEVELS = 3
LEAST_COMMON = 1.0
LEAST_SHARE = 0.5
UNRELATED = 4000
MOST_OF_ONE = 1500
"""Pairs of one relation in training: the rarer relations are not drowned."""
_TERM = re.compile(r"[a-z]{3,14}( [a-z]{3,14})?")


@dataclass(frozen=True, slots=True)
class Pair:
    """Two terms and the relation of the first to the second, one of `INVERSE`."""

    first: str
    second: str
    relation: str


def known_names(net: WordNet, synset: Synset) -> list[str]:
    """The names by which a synset is meant most often, of those that are well known."""
    names = dict(zip(synset.lemmas, synset.counts, strict=True))
    return [
        name
        for name, count in names.items()
        if _TERM.fullmatch(name)
        and count + net.gloss_words[name] / 4 >= LEAST_COMMON
        and net.sense_share(name, synset) >= LEAST_SHARE
    ]


def word_pairs(net: WordNet, synset: Synset) -> Iterator[Pair]:
    """What a synset's own pointers say of its well known names."""
    names = known_names(net, synset)
    for first, second in itertools.combinations(names, 2):
        yield Pair(first, second, "means the same as")
    for link in synset.links:
        relation = POINTERS.get(link.symbol)
        other = net.synsets.get(link.offset)
        if relation is None or relation == "is a kind of" or other is None:
            continue
        if link.source_word:  # opposites are of words and not of synsets, and stand in both
            source, target = synset.lemmas[link.source_word - 1], other.lemmas[link.target_word - 1]
            if source < target and _TERM.fullmatch(source) and _TERM.fullmatch(target):
                yield Pair(source, target, relation)
        elif names and (others := known_names(net, other)):
            yield Pair(names[0], others[0], relation)


def kind_pairs(net: WordNet, synset: Synset) -> Iterator[Pair]:
    """A noun and what it is a kind of, up to `KIND_LEVELS` above."""
    names = known_names(net, synset)
    above = list(synset.hypernyms)
    for _ in range(KIND_LEVELS):
        for other in (net.synsets[offset] for offset in above):
            for first, second in itertools.product(names[:1], known_names(net, other)[:1]):
                yield Pair(first, second, "is a kind of")
        above = [offset for one in above for offset in net.synsets[one].hypernyms]


def related_pairs(nouns: WordNet, adjectives: WordNet) -> list[Pair]:
    """Every pair of one relation only; a pair whose terms share a word says too much and is left out."""
    found: dict[frozenset[str], Pair | None] = {}
    everything = itertools.chain(
        itertools.chain.from_iterable(word_pairs(nouns, synset) for synset in nouns.synsets.values()),
        itertools.chain.from_iterable(kind_pairs(nouns, synset) for synset in nouns.synsets.values()),
        (
            pair
            for synset in adjectives.synsets.values()
            for pair in word_pairs(adjectives, synset)
            if pair.relation == "is the opposite of"
        ),
    )
    for pair in everything:
        key = frozenset((pair.first, pair.second))
        if set(pair.first.split()) & set(pair.second.split()):
            continue
        found[key] = pair if found.get(key, pair) == pair else None
    return [pair for pair in found.values() if pair is not None]


def unrelated_pairs(net: WordNet, related: Iterable[Pair], rng: random.Random, count: int) -> list[Pair]:
    """Nouns of two lexicographer files, neither of which is above the other or linked to it."""
    taken = {frozenset((pair.first, pair.second)) for pair in related}
    named = [(names[0], synset) for synset in net.synsets.values() if (names := known_names(net, synset))]
    pairs: list[Pair] = []
    while len(pairs) < count:
        (first, one), (second, other) = rng.sample(named, 2)
        near = {first, second}
        if (
            one.lexicographer_file == other.lexicographer_file
            or len(near) < 2
            or frozenset(near) in taken
            or one.offset in net.above(other)
            or other.offset in net.above(one)
        ):
            continue
        pairs.append(Pair(first, second, "is not related to"))
    return pairs


@dataclass(frozen=True, slots=True)
class RelationSplit:
    train: dict[str, list[Pair]]
    held_out: dict[str, list[Pair]]


def relation_split(nouns: WordNet, adjectives: WordNet) -> RelationSplit:
    """Pairs by their relation, in an order that is always the same."""
    rng = random.Random(20_04)  # for good: what is measured with is part of the project
    related = related_pairs(nouns, adjectives)
    pairs = related + unrelated_pairs(nouns, related, rng, UNRELATED)
    rng.shuffle(pairs)
    split = RelationSplit({name: [] for name in INVERSE}, {name: [] for name in INVERSE})
    for pair in pairs:
        kept_back = [in_percent(term, HELD_OUT_PERCENT) for term in (pair.first, pair.second)]
        if all(kept_back):
            split.held_out[pair.relation].append(pair)
        elif not any(kept_back):
            split.train[pair.relation].append(pair)
    return split


def relation_example(pair: Pair, *, turned: bool) -> Example:
    if turned:
        return Example(f"{pair.second}, {pair.first}", INVERSE[pair.relation])
    return Example(f"{pair.first}, {pair.second}", pair.relation)


def relation_training(split: RelationSplit, seed: int) -> list[Example]:
    """At most `MOST_OF_ONE` pairs of each relation, each in both directions, shuffled."""
    rng = random.Random(seed)
    examples = [
        relation_example(pair, turned=turned)
        for pairs in split.train.values()
        for pair in pairs[:MOST_OF_ONE]
        for turned in (False, True)
    ]
    rng.shuffle(examples)
    return examples


def relation_held_out(split: RelationSplit, count: int) -> list[Example]:
    """As many of each answer as of any other, as far as there are."""
    each = -(-count // len(RELATIONS))
    rng = random.Random(20_04)
    examples: list[Example] = []
    for name, pairs in split.held_out.items():
        both = [relation_example(pair, turned=at % 2 == 1) for at, pair in enumerate(pairs)]
        wanted = each * (1 if INVERSE[name] == name else 2)
        examples += both[:wanted]
    rng.shuffle(examples)
    return examples[:count]
