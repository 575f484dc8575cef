"""Clusters that `concept` is trained on: groups of one field among them, as people write them.

Shoes, pens and kettles are all artifacts to WordNet's lexicographers. Clusters whose groups come from
different files of theirs teach to tell food from people, and leave open what parts a boot from a crayon.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from launch.training.data.concept import cluster_example, concept_example, group_weight, training_manner
from launch.training.data.naming import members_in
from launch.training.data.nouns import NounGroup, commonness
from launch.training.data.wordnet import Synset, WordNet
from launch.training.examples import Example

ONE_FIELD = 0.4
"""Of the mixed clusters those with two groups from one file: of clusters of everyday words 0.3 have such."""
OF_FIELDS_APART = 0.2
"""Of all clusters, as what is measured: none of one file twice, more of them glossed."""
PLAIN = 0.8
NAMED = 0.4
"""Share of the groups that have a name people use."""
THINGS = frozenset((5, 6, 8, 13, 15, 17, 18, 20, 23, 27, 28))
"""Lexicographer files (lexnames(5WN)): animals, artifacts, bodies, food, places, objects, people, plants,
quantities, substances, times. What else there is, is thought of less often.
"""
OTHER_FIELDS = 0.4
LEAST_NAMED_MEMBERS = 3
LEAST_MEMBERS = 2
LEAST_SENSE_SHARE = 0.35
OTHER_SENSE_SHARE = 0.15
"""A word that is meant so often in another sense may stand for that."""
LEAST_STEPS, LEAST_STEPS_TOGETHER = 2, 5
"""To what two groups are both kinds of, from each of them and from both."""
TRIES = 200


class Kinship:
    """What WordNet's nouns are kinds of, each looked up once."""

    def __init__(self, net: WordNet) -> None:
        self._net = net
        self._steps: dict[str, dict[str, int]] = {}
        self._meant: dict[str, list[str]] = {}

    def steps_above(self, offset: str) -> dict[str, int]:
        """How many steps each synset that it is a kind of stands above it; itself with 0."""
        found = self._steps.get(offset)
        if found is None:
            found = {offset: 0, **self._net.above(self._net.synsets[offset])}
            self._steps[offset] = found
        return found

    def lie_apart(self, one: str, other: str) -> bool:
        """Whether neither is a kind of the other, nor both kinds of something near."""
        ours, theirs = self.steps_above(one), self.steps_above(other)
        if one in theirs or other in ours:
            return False
        shared = [(ours[offset], theirs[offset]) for offset in ours if offset in theirs]
        nearest = min(shared, key=lambda steps: (sum(steps), min(steps)), default=None)
        return nearest is None or (min(nearest) >= LEAST_STEPS and sum(nearest) >= LEAST_STEPS_TOGETHER)

    def may_be(self, word: str, offset: str) -> bool:
        """Whether the word, in a sense that is not rare, is a kind of that."""
        meant = self._meant.get(word)
        if meant is None:
            net = self._net
            senses = net.senses.get(word, ())
            often = [one for one in senses if net.sense_share(word, net.synsets[one]) > OTHER_SENSE_SHARE]
            self._meant[word] = meant = often
        return any(offset in self.steps_above(sense) for sense in meant)


def named_groups(
    net: WordNet, known: Iterable[Example], kept_back: frozenset[str], barred: frozenset[str]
) -> list[NounGroup]:
    """Of `naming`'s known groups those of one name, together. `kept_back`: synsets that are neither group nor
    member; `barred`: words that are no member.
    """
    words: dict[str, dict[str, None]] = {}
    for example in known:
        words.setdefault(example.answer, {}).update(dict.fromkeys(members_in(example.prompt)))
    found: list[NounGroup] = []
    for name, own in sorted(words.items()):
        members = [
            sense for word in sorted(own) if word not in barred for sense in _meant(net, word, kept_back)
        ]
        groups = [
            NounGroup(net.synsets[offset], tuple(one for one in members if offset in net.above(one)))
            for offset in net.senses.get(name, ())
            if offset not in kept_back
        ]
        best = max(groups, key=lambda group: len(group.members), default=None)
        if best is not None and len(best.members) >= LEAST_NAMED_MEMBERS:
            found.append(best)
    return found


def _meant(net: WordNet, word: str, kept_back: frozenset[str]) -> list[Synset]:
    """The first sense in which a word is often meant."""
    senses = (net.synsets[offset] for offset in net.senses.get(word, ()) if offset not in kept_back)
    return list(
        itertools.islice((one for one in senses if net.sense_share(word, one) > LEAST_SENSE_SHARE), 1)
    )


def trained_clusters(
    net: WordNet, groups: Sequence[NounGroup], named: Sequence[NounGroup], rng: random.Random
) -> Iterator[Example]:
    """Without end: clusters whose groups may be of one field, and some whose may not."""
    kinship, apart = Kinship(net), training_manner(net, groups)
    mixed = replace(apart, plain_clusters=PLAIN)
    shares = [*_shares(named, [len(group.members) ** 0.5 for group in named], NAMED)]
    shares += _shares(groups, [group_weight(net, group) for group in groups], 1 - NAMED)
    drawn = Drawn([*named, *groups], [*itertools.accumulate(shares)])
    while True:
        if rng.random() < OF_FIELDS_APART:
            yield concept_example(net, groups, rng, apart)
        else:
            yield cluster_example(_mixed(net, kinship, drawn, rng), rng, mixed)


def _shares(groups: Sequence[NounGroup], weights: Sequence[float], of_all: float) -> list[float]:
    """The groups' shares by these weights, those of things higher, which are so much of all together."""
    own = [
        weight * (1 if group.synset.lexicographer_file in THINGS else OTHER_FIELDS)
        for group, weight in zip(groups, weights, strict=True)
    ]
    return [weight / sum(own) * of_all for weight in own]


@dataclass(frozen=True, slots=True)
class Drawn:
    groups: Sequence[NounGroup]
    cumulative: Sequence[float]
    """Their shares, added up."""


Chosen = list[tuple[NounGroup, list[Synset]]]


def _mixed(net: WordNet, kinship: Kinship, drawn: Drawn, rng: random.Random) -> Chosen:
    """Two to four groups with members; no member may be of another group as well."""
    wanted, of_one_field = rng.choice((2, 3, 3, 3, 4)), rng.random() < ONE_FIELD
    while True:
        chosen: Chosen = []
        for _ in range(TRIES):
            (group,) = rng.choices(drawn.groups, cum_weights=drawn.cumulative)
            field = group.synset.lexicographer_file
            if of_one_field and len(chosen) == 1 and field != chosen[0][0].synset.lexicographer_file:
                continue
            members = _members_beside(net, kinship, group, chosen)
            size = min(len(members), rng.choice((3, 3, 4)))
            if size < LEAST_MEMBERS:
                continue
            members.sort(key=lambda member: rng.random() / (1 + commonness(net, member)))
            chosen.append((group, members[:size]))
            if len(chosen) == wanted:
                return chosen


def _members_beside(net: WordNet, kinship: Kinship, group: NounGroup, chosen: Chosen) -> list[Synset]:
    """Its members that may stand beside those chosen; none where the groups are near, or share a word."""
    own = group.synset.offset
    for other, members in chosen:
        near = not kinship.lie_apart(own, other.synset.offset)
        if near or any(kinship.may_be(member.name, own) for member in members):
            return []
    taken = {member.name for _, members in chosen for member in members}
    by_name = {member.name: member for member in group.members if member.name not in taken}
    return [
        member
        for name, member in by_name.items()
        if not any(kinship.may_be(name, other.synset.offset) for other, _ in chosen)
    ]
