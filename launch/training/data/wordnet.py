"""Reads the nouns and adjectives of WordNet 3.0 from its plain text files (Debian: ``wordnet-base``).

The formats are those of wndb(5WN) and cntlist(5WN): ``data.noun`` and ``data.adj`` hold one synset a line,
``cntlist.rev`` how often each sense was tagged in the semantic concordances, its only measure of how common
a sense is.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gateway.errors import ConfigError

DEFAULT_FOLDER = Path("/usr/share/wordnet")
NOUN_SENSE_TYPES = frozenset("1")
ADJECTIVE_SENSE_TYPES = frozenset("35")  # heads of clusters, and their satellites
_WORD = re.compile(r"[a-z]+")
_POSITION = re.compile(r"\((?:a|p|ip)\)$")


@dataclass(frozen=True, slots=True)
class Link:
    """A pointer to another synset; words count from 1, and 0 stands for the whole synset."""

    symbol: str
    part: str
    """Part of speech of the other: n, v, a, r."""
    offset: str
    source_word: int = 0
    target_word: int = 0


@dataclass(frozen=True, slots=True)
class Synset:
    """One sense; ``counts`` are tag counts, one a lemma; relations are offsets of other synsets."""

    offset: str
    lexicographer_file: int
    lemmas: tuple[str, ...]
    counts: tuple[int, ...]
    hypernyms: tuple[str, ...]
    hyponyms: tuple[str, ...]
    gloss: str
    links: tuple[Link, ...] = ()
    """Every pointer, those to kinds among them."""

    @property
    def name(self) -> str:
        return self.lemmas[0]

    @property
    def definition(self) -> str:
        """The gloss without its examples and without remarks in parentheses."""
        text = re.sub(r"\([^)]*\)", " ", self.gloss.split('; "', 1)[0])
        return " ".join(text.split()).strip(" ;:,")


@dataclass(frozen=True, slots=True)
class WordNet:
    """One part of speech of WordNet: its synsets, and the senses of each lemma."""

    synsets: dict[str, Synset]
    senses: dict[str, tuple[str, ...]]
    gloss_words: Counter[str]
    """How often a word stands in the glosses: a second measure of how common it is."""

    def hyponyms(self, synset: Synset) -> Iterator[Synset]:
        for offset in synset.hyponyms:
            yield self.synsets[offset]

    def above(self, synset: Synset) -> dict[str, int]:
        """Offsets of what it is a kind of, of what that is, and so on, the nearest first, and how many steps
        each of them stands above it.
        """
        found: dict[str, int] = {}
        level = [synset]
        while level:
            level = [self.synsets[offset] for one in level for offset in one.hypernyms if offset not in found]
            steps = 1 + max(found.values(), default=0)
            found.update(dict.fromkeys((one.offset for one in level), steps))
        return found

    def sense_share(self, lemma: str, synset: Synset) -> float:
        """This synset's share of a lemma's tag counts; each sense counts once more than tagged."""
        total = 0
        own = 0
        for offset in self.senses[lemma]:
            other = self.synsets[offset]
            count = 1 + other.counts[other.lemmas.index(lemma)]
            total += count
            own += count if offset == synset.offset else 0
        return own / total


def read_wordnet(folder: Path = DEFAULT_FOLDER) -> WordNet:
    """Reads every noun synset. Raises ConfigError where the files are not there."""
    return _read_part(folder, "data.noun", NOUN_SENSE_TYPES)


def read_adjectives(folder: Path = DEFAULT_FOLDER) -> WordNet:
    """Reads every adjective synset. Raises ConfigError where the files are not there."""
    return _read_part(folder, "data.adj", ADJECTIVE_SENSE_TYPES)


def _read_part(folder: Path, name: str, sense_types: frozenset[str]) -> WordNet:
    data = folder / name
    if not data.is_file():
        raise ConfigError("--wordnet", str(folder), "install the package wordnet-base, or name its folder")
    counts = _read_counts(folder / "cntlist.rev", sense_types)
    synsets: dict[str, Synset] = {}
    words: Counter[str] = Counter()
    with data.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if line.startswith("  "):
                continue  # the licence at the head of the file
            synset = parse_synset(line, counts)
            synsets[synset.offset] = synset
            words.update(_WORD.findall(synset.gloss.lower()))
    senses: dict[str, list[str]] = {}
    for synset in synsets.values():
        for lemma in dict.fromkeys(synset.lemmas):
            senses.setdefault(lemma, []).append(synset.offset)
    return WordNet(synsets, {lemma: tuple(found) for lemma, found in senses.items()}, words)


def parse_synset(line: str, counts: dict[tuple[str, int, int], int]) -> Synset:
    """``offset lex_file type w_cnt (word lex_id)… p_cnt (symbol offset pos source/target)… | gloss``"""
    head, _, gloss = line.partition(" | ")
    fields = head.split()
    lexicographer_file = int(fields[1])
    word_count = int(fields[3], 16)
    lemmas: list[str] = []
    tagged: list[int] = []
    for at in range(4, 4 + 2 * word_count, 2):
        word, lex_id = _POSITION.sub("", fields[at]), int(fields[at + 1], 16)
        lemmas.append(word.replace("_", " ").lower())
        tagged.append(counts.get((word.lower(), lexicographer_file, lex_id), 0))
    pointers = fields[5 + 2 * word_count :]
    links: list[Link] = []
    for at in range(0, len(pointers) - 3, 4):
        symbol, offset, part, words = pointers[at : at + 4]
        links.append(Link(symbol, part, offset, int(words[:2], 16), int(words[2:], 16)))
    return Synset(
        fields[0],
        lexicographer_file,
        tuple(lemmas),
        tuple(tagged),
        tuple(link.offset for link in links if link.symbol == "@" and link.part == "n"),
        tuple(link.offset for link in links if link.symbol == "~" and link.part == "n"),
        gloss.strip(),
        tuple(links),
    )


def _read_counts(path: Path, sense_types: frozenset[str]) -> dict[tuple[str, int, int], int]:
    """``lemma%type:lex_file:lex_id:head:head_id sense_number tag_count``, those types of sense alone."""
    counts: dict[tuple[str, int, int], int] = {}
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            key, _, count = line.split()
            lemma, _, sense = key.partition("%")
            sense_type, lexicographer_file, lex_id, *_ = sense.split(":")
            if sense_type in sense_types:
                counts[lemma, int(lexicographer_file), int(lex_id)] = int(count)
    return counts
