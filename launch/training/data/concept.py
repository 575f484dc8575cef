"""Examples of the demo's task `concept`: shuffled terms of two to four hidden groups in, the groups with a
definition each out, as compact JSON.

8 % of the group synsets are held out, and every term that such a group may use. What is trained on is
weighed by how often people mean it, and defines in whole sentences. What is held out stays as it was first
drawn, so that scores compare over the years.
"""

from __future__ import annotations

import itertools
import json
import math
import random
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from launch.training.data.definitions import sentence, shorten
from launch.training.data.nouns import (
    DEFINITION_WORDS,
    NounGroup,
    Split,
    commonness,
    held_out,
    is_slur,
    leaks,
)
from launch.training.data.wordnet import Synset, WordNet
from launch.training.examples import Example

TERM_GLOSS_WORDS = 7
GLOSSED_TERMS = 0.8
TRAINED_LEVELS = 3
MOST_TRAINED_MEMBERS = 150
LEAST_TRAINED_COMMONNESS = 0.5
"""A third of what a measured term needs: twice as many terms are trained on, the better known more often."""
PLAIN_CLUSTERS = 0.4
"""Of those trained on, where no term has a gloss, as people mostly write them."""


@dataclass(frozen=True, slots=True)
class Manner:
    """How an example of `concept` is written and drawn."""

    define: Callable[[str], str]
    plain_clusters: float = 0.0
    """Share of clusters whose terms have no gloss."""
    cumulative: tuple[float, ...] | None = None
    """Weights of the groups, added up; without them all are drawn alike."""
    open: bool = False
    """Whether a definition may be said in other words."""


MEASURED = Manner(lambda text: shorten(text, DEFINITION_WORDS))


def is_common_term(net: WordNet, synset: Synset, least: float = 1.5) -> bool:
    """One plain word, known well enough, and most often meant in this sense."""
    name = synset.name
    return (
        re.fullmatch(r"[a-z]{3,12}", name) is not None
        and commonness(net, synset) >= least
        and net.sense_share(name, synset) >= 0.5
    )


def concept_split(
    net: WordNet, reserved: frozenset[str] = frozenset(), everyday: frozenset[str] = frozenset()
) -> Split:
    """Groups of common terms. No term that a held-out group may use is a term in training.

    Those held out, kinds or kinds of kinds, stay as they were first drawn; training reaches further.
    """
    tested = measured_groups(net, reserved)
    terms = {member.name for group in tested for member in group.members}
    return Split(trained_groups(net, reserved, everyday | terms), tested, reserved, everyday)


def measured_groups(net: WordNet, reserved: frozenset[str]) -> list[NounGroup]:
    groups: list[NounGroup] = []
    for synset in net.synsets.values():
        if not held_out("concept", synset.offset) or not _may_be_group(synset, reserved):
            continue
        kinds = list(net.hyponyms(synset))
        if len(kinds) <= 60:
            kinds += [deeper for kind in kinds for deeper in net.hyponyms(kind)]
        members = {
            kind.name: kind
            for kind in kinds
            if kind.offset not in reserved
            and is_common_term(net, kind)
            and not leaks((kind.name,), synset.name)
        }
        if 3 <= len(members) <= 60:
            groups.append(NounGroup(synset, tuple(members.values())))
    return groups


def trained_groups(net: WordNet, reserved: frozenset[str], barred: frozenset[str]) -> list[NounGroup]:
    """Kinds to three levels below, none of them by a barred name."""
    known = {
        synset.offset
        for synset in net.synsets.values()
        if synset.offset not in reserved
        and synset.name not in barred
        and is_common_term(net, synset, LEAST_TRAINED_COMMONNESS)
        and not is_slur(synset)
    }
    groups: list[NounGroup] = []
    for synset in net.synsets.values():
        if held_out("concept", synset.offset) or not _may_be_group(synset, reserved) or is_slur(synset):
            continue
        members: dict[str, Synset] = {}
        level = [synset]
        for _ in range(TRAINED_LEVELS):
            level = [kind for one in level for kind in net.hyponyms(one)]
            for kind in level:
                if kind.offset in known and not leaks((kind.name,), synset.name):
                    members.setdefault(kind.name, kind)
            if len(members) > MOST_TRAINED_MEMBERS:
                break
        if 3 <= len(members) <= MOST_TRAINED_MEMBERS:
            groups.append(NounGroup(synset, tuple(members.values())))
    return groups


def _may_be_group(synset: Synset, reserved: frozenset[str]) -> bool:
    return synset.offset not in reserved and len(synset.definition.split()) >= 3


def group_weight(net: WordNet, group: NounGroup) -> float:
    """By its three best known members; a logarithm, so that no group drowns the others."""
    known = sorted((commonness(net, member) for member in group.members), reverse=True)[:3]
    return math.log2(2 + sum(known) / len(known))


def training_manner(net: WordNet, groups: Sequence[NounGroup]) -> Manner:
    """Sentences for definitions, fewer glosses, and the groups by their weights."""
    weights = itertools.accumulate(group_weight(net, group) for group in groups)
    return Manner(sentence, PLAIN_CLUSTERS, tuple(weights), open=True)


def concept_example(
    net: WordNet, groups: Sequence[NounGroup], rng: random.Random, manner: Manner = MEASURED
) -> Example:
    """Two to four groups of two to four terms; their lexicographer files differ, so they lie far apart."""
    wanted = rng.choice((2, 2, 2, 3, 3, 4))
    chosen: list[tuple[NounGroup, list[Synset]]] = []
    seen_files: set[int] = set()
    seen_names: set[str] = set()
    while len(chosen) < wanted:
        if manner.cumulative is None:
            group = rng.choice(groups)
        else:
            group = rng.choices(groups, cum_weights=manner.cumulative)[0]
        if group.synset.lexicographer_file in seen_files:
            continue
        free = [member for member in group.members if member.name not in seen_names]
        size = min(len(free), rng.choice((2, 3, 3, 4) if wanted < 4 else (2, 2, 3)))
        if size < 2:
            continue
        members = sorted(free, key=lambda member: rng.random() / (1 + commonness(net, member)))[:size]
        # Every draw above counts: one more or less would change all that is held out from there on.
        seen_files.add(group.synset.lexicographer_file)
        seen_names.update(member.name for member in members)
        chosen.append((group, members))
    return cluster_example(chosen, rng, manner)


def cluster_example(
    chosen: Sequence[tuple[NounGroup, Sequence[Synset]]], rng: random.Random, manner: Manner
) -> Example:
    """Groups with the members that stand for each, shuffled and grouped again."""
    terms = [member for _, members in chosen for member in members]
    rng.shuffle(terms)
    glossed = 0.0 if manner.plain_clusters and rng.random() < manner.plain_clusters else GLOSSED_TERMS
    lines = [
        f"{term.name}: {shorten(term.definition, TERM_GLOSS_WORDS)}" if rng.random() < glossed else term.name
        for term in terms
    ]
    place = {term.name: at for at, term in enumerate(terms)}
    answer: list[tuple[list[str], str]] = []
    for group, members in chosen:
        names = sorted((member.name for member in members), key=place.__getitem__)
        answer.append((names, manner.define(group.synset.definition)))
    answer.sort(key=lambda item: place[item[0][0]])
    return Example(
        "\n".join(lines),
        concept_answer(answer),
        tuple(group.synset.offset for group, _ in chosen),
        terms=tuple(term.name for term in terms),
        groups=tuple(tuple(names) for names, _ in answer),
        open=tuple(definition for _, definition in answer) if manner.open else (),
    )


def concept_answer(groups: Iterable[tuple[Sequence[str], str]]) -> str:
    concepts = [{"members": list(members), "definition": definition} for members, definition in groups]
    return json.dumps({"concepts": concepts}, ensure_ascii=False, separators=(",", ":"))
