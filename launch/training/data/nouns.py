"""Examples of the demo's tasks `naming` and `concept`, built from WordNet's nouns, the same for a seed.

naming   a definition and some members in, the name of the concept out.
concept  shuffled terms of two to four hidden groups in, the groups with a definition each out, compact JSON.

What is held out is decided by a hash, not by the seed, so no run can train on what another is measured
with: for naming a fifth of the common nouns, with every other synset that bears one of their names; for
concept 8 % of the group synsets and every term that such a group may use. The synsets of the sample
clusters are in neither.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from launch.training.data.wordnet import Synset, WordNet
from launch.training.examples import Example

Task = Literal["concept", "naming"]
HELD_OUT_PERCENT: dict[Task, int] = {"concept": 8, "naming": 22}
DEFINITION_WORDS = 8
TERM_GLOSS_WORDS = 7
GLOSSED_TERMS = 0.8
_FUNCTION_WORDS = frozenset(
    re.findall(
        r"\w+",
        "a an the of or and in on to for with by as at from that which who whose is are be used "
        "especially usually",
    )
)


@dataclass(frozen=True, slots=True)
class NounGroup:
    synset: Synset
    members: tuple[Synset, ...]


@dataclass(frozen=True, slots=True)
class Split:
    train: list[NounGroup]
    held_out: list[NounGroup]
    common: frozenset[str] = field(default=frozenset())


def in_percent(key: str, percent: int) -> bool:
    """Whether a key's hash falls in so many of 100, for good."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:4]) % 100 < percent


def held_out(task: Task, key: str) -> bool:
    return in_percent(key, HELD_OUT_PERCENT[task])


def shorten(text: str, words: int) -> str:
    """The first clause in at most `words` words, not ending in a word that promises more."""
    kept = re.split(r"[;:,]", text, maxsplit=1)[0].split()
    if len(kept) > words:
        kept = kept[:words]
        while len(kept) > 2 and kept[-1].lower() in _FUNCTION_WORDS:
            kept.pop()
    return " ".join(kept)


def word_stems(text: str) -> set[str]:
    """Content words without their last letters, so that `swimmer` also finds `swims`."""
    words = re.findall(r"[a-z]+", text.lower())
    return {word[: max(4, len(word) - 3)] for word in words if len(word) > 2 and word not in _FUNCTION_WORDS}


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


# -- naming ----------------------------------------------------------------------------------------


def naming_split(net: WordNet, reserved: frozenset[str] = frozenset()) -> Split:
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
    train = [group for group in groups if names.isdisjoint(group.synset.lemmas)]
    common = frozenset(group.synset.offset for group in train if group.synset.counts[0] > 0)
    return Split(train, tested, common)


def is_common_name(net: WordNet, group: NounGroup) -> bool:
    synset = group.synset
    return len(group.members) >= 3 and synset.counts[0] > 1 and net.sense_share(synset.name, synset) > 0.5


def naming_example(net: WordNet, group: NounGroup, rng: random.Random) -> Example:
    """Two to four members, the better known more often; the definition whole, or cut as `concept` cuts it."""
    synset = group.synset
    ranked = sorted(group.members, key=lambda kind: rng.random() / (1 + commonness(net, kind)))
    members = list(dict.fromkeys(kind.name for kind in ranked))[: rng.choice((2, 3, 3, 4, 4))]
    definition = shorten(synset.definition, DEFINITION_WORDS if rng.random() < 0.3 else 24)
    prompt = f"Definition: {definition}\nMembers: {', '.join(members)}"
    return Example(prompt, synset.name, (synset.offset,), lemmas=synset.lemmas)


def naming_epoch(net: WordNet, split: Split, rng: random.Random) -> Iterator[Example]:
    """Every noun once with fresh members, and those that were tagged as common a second time."""
    order = split.train + [group for group in split.train if group.synset.offset in split.common]
    rng.shuffle(order)
    for group in order:
        yield naming_example(net, group, rng)


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


def concept_split(net: WordNet, reserved: frozenset[str] = frozenset()) -> Split:
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
    return Split(train, tested)


def concept_example(net: WordNet, groups: Sequence[NounGroup], rng: random.Random) -> Example:
    """Two to four groups of two to four terms; their lexicographer files differ, so they lie far apart."""
    wanted = rng.choice((2, 2, 2, 3, 3, 4))
    chosen: list[tuple[NounGroup, list[Synset]]] = []
    seen_files: set[int] = set()
    seen_names: set[str] = set()
    while len(chosen) < wanted:
        group = rng.choice(groups)
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
    lines = [
        f"{term.name}: {shorten(term.definition, TERM_GLOSS_WORDS)}"
        if rng.random() < GLOSSED_TERMS
        else term.name
        for term in terms
    ]
    place = {term.name: at for at, term in enumerate(terms)}
    answer: list[tuple[list[str], str]] = []
    for group, members in chosen:
        names = sorted((member.name for member in members), key=place.__getitem__)
        answer.append((names, shorten(group.synset.definition, DEFINITION_WORDS)))
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


def split_task(task: Task, net: WordNet, clusters: Path | None = None) -> Split:
    reserved = cluster_synsets(net, cluster_terms(clusters)) if clusters else frozenset()
    return naming_split(net, reserved) if task == "naming" else concept_split(net, reserved)


def training_examples(task: Task, net: WordNet, split: Split, seed: int) -> Iterator[Example]:
    """Without end: naming epoch by epoch, concept a fresh cluster each time."""
    rng = random.Random(seed)
    while True:
        if task == "naming":
            yield from naming_epoch(net, split, rng)
        else:
            yield concept_example(net, split.train, rng)


def held_out_examples(task: Task, net: WordNet, split: Split, count: int) -> list[Example]:
    """The measured examples; their seed is fixed, for they are part of the project."""
    rng = random.Random(20_03)
    if task == "concept":
        return [concept_example(net, split.held_out, rng) for _ in range(count)]
    groups = rng.sample(split.held_out, min(count, len(split.held_out)))
    return [naming_example(net, group, rng) for group in groups]
