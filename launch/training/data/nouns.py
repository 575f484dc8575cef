"""Examples of the demo's tasks `naming` and `concept`, built from WordNet's nouns, the same for a seed.

naming   a definition and some members in, the name of the concept out.
concept  shuffled terms of two to four hidden groups in, the groups with a definition each out, compact JSON.

What is held out is decided by a hash, not by the seed, so no run can train on what another is measured
with: for naming a fifth of the common nouns, with every other synset that bears one of their names; for
concept 8 % of the group synsets and every term that such a group may use. The synsets of the sample
clusters are in neither, nor is a term of the everyday clusters that the pipeline is measured with.

What is trained on is weighed by how often people mean it, by WordNet's counts of tagged senses, and defines
in whole sentences. What is held out stays as it was first drawn, so that scores compare over the years.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import random
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from launch.training.data.definitions import FUNCTION_WORDS, sentence, shorten
from launch.training.data.wordnet import Synset, WordNet
from launch.training.examples import Example

Task = Literal["concept", "naming"]
HELD_OUT_PERCENT: dict[Task, int] = {"concept": 8, "naming": 22}
DEFINITION_WORDS = 8
TERM_GLOSS_WORDS = 7
GLOSSED_TERMS = 0.8
SENTENCES = 0.6
PLAIN_CLUSTERS = 0.4
"""Of those trained on, where no term has a gloss, as people mostly write them."""
MOST_REPEATS = 4
_SLUR = re.compile(r"\b(?:slur|offensive)\b")


@dataclass(frozen=True, slots=True)
class NounGroup:
    synset: Synset
    members: tuple[Synset, ...]


@dataclass(frozen=True, slots=True)
class Split:
    train: list[NounGroup]
    held_out: list[NounGroup]


@dataclass(frozen=True, slots=True)
class Manner:
    """How an example of `concept` is written and drawn."""

    define: Callable[[str], str]
    plain_clusters: float = 0.0
    """Share of clusters whose terms have no gloss."""
    cumulative: tuple[float, ...] | None = None
    """Weights of the groups, added up; without them all are drawn alike."""


MEASURED = Manner(lambda text: shorten(text, DEFINITION_WORDS))


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
    """The terms of a file of sample clusters; none where the file is not there."""
    if not path.is_file():
        return frozenset()
    clusters = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
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


def without(everyday: frozenset[str], groups: Iterable[NounGroup]) -> list[NounGroup]:
    """Groups to train on without these members, nor any that is a slur; of two members at least."""
    kept: list[NounGroup] = []
    for group in groups:
        members = tuple(
            member
            for member in group.members
            if member.name not in everyday and not _SLUR.search(member.gloss)
        )
        if len(members) >= 2 and not _SLUR.search(group.synset.gloss):
            kept.append(NounGroup(group.synset, members))
    return kept


# -- naming ----------------------------------------------------------------------------------------


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


# -- concept ---------------------------------------------------------------------------------------


def commonness(net: WordNet, synset: Synset) -> float:
    return synset.counts[0] + net.gloss_words[synset.name] / 4


def is_common_term(net: WordNet, synset: Synset) -> bool:
    """One plain word, known well enough, and most often meant in this sense."""
    name = synset.name
    return (
        re.fullmatch(r"[a-z]{3,12}", name) is not None
        and commonness(net, synset) >= 1.5
        and net.sense_share(name, synset) >= 0.5
    )


def concept_split(
    net: WordNet, reserved: frozenset[str] = frozenset(), everyday: frozenset[str] = frozenset()
) -> Split:
    """Groups of common terms, kinds or kinds of kinds; no held-out group's term is a term in training."""
    groups: list[NounGroup] = []
    for synset in net.synsets.values():
        if synset.offset in reserved or len(synset.definition.split()) < 3:
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
    tested = [group for group in groups if held_out("concept", group.synset.offset)]
    terms = {member.name for group in tested for member in group.members}
    train: list[NounGroup] = []
    for group in groups:
        members_left = tuple(member for member in group.members if member.name not in terms)
        if not held_out("concept", group.synset.offset) and len(members_left) >= 2:
            train.append(NounGroup(group.synset, members_left))
    return Split(without(everyday, train), tested)


def group_weight(net: WordNet, group: NounGroup) -> float:
    """By its three best known members; a logarithm, so that no group drowns the others."""
    known = sorted((commonness(net, member) for member in group.members), reverse=True)[:3]
    return math.log2(2 + sum(known) / len(known))


def training_manner(net: WordNet, groups: Sequence[NounGroup]) -> Manner:
    """Sentences for definitions, fewer glosses, and the groups by their weights."""
    weights = itertools.accumulate(group_weight(net, group) for group in groups)
    return Manner(sentence, PLAIN_CLUSTERS, tuple(weights))


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
        seen_files.add(group.synset.lexicographer_file)
        seen_names.update(member.name for member in members)
        chosen.append((group, members))
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
    )


def concept_answer(groups: Iterable[tuple[Sequence[str], str]]) -> str:
    concepts = [{"members": list(members), "definition": definition} for members, definition in groups]
    return json.dumps({"concepts": concepts}, ensure_ascii=False, separators=(",", ":"))


# -- both ------------------------------------------------------------------------------------------


def split_task(task: Task, net: WordNet, clusters: Path | None = None, everyday: Path | None = None) -> Split:
    """`clusters`: the samples', none of whose synsets is in either part; `everyday`: those of whose terms
    none is a member in training.
    """
    reserved = cluster_synsets(net, cluster_terms(clusters)) if clusters else frozenset()
    terms = cluster_terms(everyday) if everyday else frozenset()
    return naming_split(net, reserved, terms) if task == "naming" else concept_split(net, reserved, terms)


def training_examples(task: Task, net: WordNet, split: Split, seed: int) -> Iterator[Example]:
    """Without end: naming epoch by epoch, concept a fresh cluster each time."""
    rng = random.Random(seed)
    manner = training_manner(net, split.train)
    while True:
        if task == "naming":
            yield from naming_epoch(net, split, rng)
        else:
            yield concept_example(net, split.train, rng, manner)


def held_out_examples(task: Task, net: WordNet, split: Split, count: int) -> list[Example]:
    """The measured examples; their seed is fixed, for they are part of the project."""
    rng = random.Random(20_03)
    if task == "concept":
        return [concept_example(net, split.held_out, rng) for _ in range(count)]
    groups = rng.sample(split.held_out, min(count, len(split.held_out)))
    return [naming_example(net, group, rng) for group in groups]
