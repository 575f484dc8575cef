"""Groups of well-known words under the names that people use, which `naming` is trained on as well.

WordNet calls terriers and puppies dogs, canines, carnivores and domestic animals, and does not tell which of
these people say. A base that has read much does, where it is asked in a form that it has read: what it goes
on with counts where WordNet has it among the names of what all of the group are.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from launch.training.data.definitions import sentence
from launch.training.data.naming import naming_prompt
from launch.training.data.nouns import commonness, is_slur, leaks
from launch.training.data.wordnet import Synset, WordNet
from launch.training.examples import Example

LEVELS = 3
"""So far below a noun its kinds are looked for."""
BEST_KNOWN = 20
"""Of a noun's kinds at one level so many are drawn from."""
LEAST_COMMONNESS = 1.0
LEAST_SENSE_SHARE = 0.35
MOST_OF_A_NAME = 8
"""Groups, and as many again as `concept` writes them: a few names would be most of the data."""
DICTIONARY, NEAR = 0.35, 0.7
"""Shares: to the first with its own definition, to the second with that of something near, then with none."""
FEWER_MEMBERS = 0.25

SHOWN = (
    "Granite, marble and slate are kinds of rock.\n"
    "Sonnet, ode and haiku are kinds of poem.\n"
    "Diesel, petrol and kerosene are kinds of fuel.\n"
    "Captain, sergeant and colonel are kinds of soldier.\n"
    "Tent, cabin and igloo are kinds of shelter.\n"
    "Mayor, senator and president are kinds of politician.\n"
    "Brass, bronze and steel are kinds of alloy.\n"
    "Comma, colon and hyphen are kinds of punctuation.\n"
    "Glue, paste and cement are kinds of adhesive.\n"
    "Lullaby, hymn and carol are kinds of song.\n"
    "Tax, toll and tariff are kinds of charge.\n"
)
"""What stands before the group that a base is asked for, so long that an engine's prefix cache keeps it. None
of it is in the everyday clusters.
"""


@dataclass(frozen=True, slots=True)
class KnownGroup:
    """Words that are all kinds of something. `names`: of what, to its synset's offset, the nearest first."""

    members: tuple[str, ...]
    names: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ConfirmedGroup:
    members: tuple[str, ...]
    name: str
    offset: str
    """Of the synset that has the name."""


def known_groups(
    net: WordNet, reserved: frozenset[str], everyday: frozenset[str], rng: random.Random
) -> list[KnownGroup]:
    """Three or four kinds each of a noun, some levels below it. No member is one of `everyday`, and none a
    synset of `reserved`; the noun is neither, nor do its kinds tell its name.
    """
    found: dict[frozenset[str], KnownGroup] = {}
    for synset in net.synsets.values():
        if synset.offset in reserved or is_slur(synset):
            continue
        for level, below in enumerate(_levels_below(net, synset)):
            kinds = [
                kind
                for kind in below
                if _is_known(net, kind, reserved, everyday) and not leaks(synset.lemmas, kind.name)
            ]
            kinds.sort(key=lambda kind: (-commonness(net, kind), kind.offset))
            best = kinds[:BEST_KNOWN]
            for _ in range(min(4 if level else 6, len(kinds) // 2) if len(kinds) > 2 else 0):
                members = rng.sample(best, min(len(best), rng.choice((3, 4))))
                words = tuple(dict.fromkeys(member.name for member in members))
                names = _names_of_all(net, members)
                if len(words) > 2 and names:
                    found.setdefault(frozenset(words), KnownGroup(words, names))
    return list(found.values())


def _levels_below(net: WordNet, synset: Synset) -> Iterator[list[Synset]]:
    """Its kinds, then those and theirs, and so on."""
    found: dict[str, Synset] = {}
    level = [synset]
    for _ in range(LEVELS):
        level = [kind for one in level for kind in net.hyponyms(one) if kind.offset not in found]
        found.update((kind.offset, kind) for kind in level)
        yield list(found.values())


def _is_known(net: WordNet, synset: Synset, reserved: frozenset[str], everyday: frozenset[str]) -> bool:
    name = synset.name
    return (
        synset.offset not in reserved
        and name not in everyday
        and re.fullmatch(r"[a-z]+( [a-z]+)?", name) is not None
        and commonness(net, synset) >= LEAST_COMMONNESS
        and net.sense_share(name, synset) > LEAST_SENSE_SHARE
        and not is_slur(synset)
    )


def _names_of_all(net: WordNet, members: Sequence[Synset]) -> dict[str, str]:
    """Every name of what all of them are; none where one of them is a kind of another."""
    above = [net.above(member) for member in members]
    names: dict[str, str] = {}
    if any(member.offset in one for member in members for one in above):
        return names
    for offset in above[0]:
        if all(offset in one for one in above[1:]):
            for lemma in net.synsets[offset].lemmas:
                names.setdefault(lemma, offset)
    return names


def asked_of(group: KnownGroup) -> str:
    """The text that a base goes on with."""
    *first, last = group.members
    line = f"{', '.join(first)} and {last} are kinds of"
    return SHOWN + line[:1].upper() + line[1:]


def named(group: KnownGroup, said: str, held_out: frozenset[str]) -> ConfirmedGroup | None:
    """The group under the name that the base gave it; None where WordNet has none such for all of it, where
    it is a member, or a name that is held out.
    """
    word = re.split(r"[.,\n]", said.strip(), maxsplit=1)[0].strip().lower()
    for name in (word, word.removesuffix("s"), word.removesuffix("es"), f"{word.removesuffix('ies')}y"):
        if name in group.names:
            taken = name in group.members or name in held_out
            return None if taken else ConfirmedGroup(group.members, name, group.names[name])
    return None


def few_of_each(groups: Iterable[ConfirmedGroup], rng: random.Random) -> list[ConfirmedGroup]:
    """`MOST_OF_A_NAME` at most, in a new order."""
    by_name: dict[str, list[ConfirmedGroup]] = {}
    for group in rng.sample(ordered := list(groups), len(ordered)):
        by_name.setdefault(group.name, []).append(group)
    kept = [group for same in by_name.values() for group in same[:MOST_OF_A_NAME]]
    rng.shuffle(kept)
    return kept


def group_example(net: WordNet, group: ConfirmedGroup, rng: random.Random) -> Example:
    """Its members, with WordNet's definition, with that of something near it, or with none."""
    members = rng.sample(group.members, len(group.members))
    if rng.random() < FEWER_MEMBERS:
        members = members[: rng.choice((2, 3))]
    drawn, synset = rng.random(), net.synsets[group.offset]
    definition = sentence(synset.definition) if drawn < DICTIONARY else ""
    if DICTIONARY <= drawn < NEAR:
        near = [*net.hyponyms(synset), *(net.synsets[offset] for offset in synset.hypernyms)]
        near += [net.synsets[net.senses[member][0]] for member in members]
        definition = sentence(rng.choice(near).definition)
    return Example(naming_prompt(definition, members), group.name)


def clusters_of(
    net: WordNet, groups: Sequence[ConfirmedGroup], rng: random.Random
) -> Iterator[list[ConfirmedGroup]]:
    """Two or three groups each that lie far apart and share no member, as one puts them to `concept`."""
    rest = list(groups)
    rng.shuffle(rest)
    while rest:
        cluster, wanted = [rest.pop()], rng.choice((2, 3, 3, 3))
        for at in range(len(rest) - 1, -1, -1):
            if len(cluster) == wanted:
                break
            if all(_far_apart(net, rest[at], one) for one in cluster):
                cluster.append(rest.pop(at))
        if len(cluster) > 1:
            yield cluster


def _far_apart(net: WordNet, one: ConfirmedGroup, other: ConfirmedGroup) -> bool:
    files = (net.synsets[group.offset].lexicographer_file for group in (one, other))
    return len(set(files)) == 2 and set(one.members).isdisjoint(other.members)


def written_examples(
    cluster: Sequence[ConfirmedGroup], concepts: Iterable[tuple[Sequence[str], str]]
) -> Iterator[Example]:
    """What `concept` made of a cluster, members and definition each, under the name of the group that more
    than half of them are of.
    """
    for members, definition in concepts:
        most = max(cluster, key=lambda group: len(set(group.members).intersection(members)))
        if 2 * len(set(most.members).intersection(members)) > len(members) and most.name not in members:
            yield Example(naming_prompt(definition, members), most.name)
