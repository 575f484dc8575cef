"""Reads the nouns of WordNet 3.0 from its plain text files (Debian: ``wordnet-base``).

The formats are those of wndb(5WN) and cntlist(5WN): ``data.noun`` holds one synset a line, ``cntlist.rev``
how often each sense was tagged in the semantic concordances, its only measure of how common a sense is.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gateway.errors import ConfigError

DEFAULT_FOLDER = Path("/usr/share/wordnet")
NOUN_SENSE_TYPE = "1"
_WORD = re.compile(r"[a-z]+")


@dataclass(frozen=True, slots=True)
class Synset:
    """One noun sense; ``counts`` are tag counts, one a lemma; relations are offsets of other synsets."""

    offset: str
    lexicographer_file: int
    lemmas: tuple[str, ...]
    counts: tuple[int, ...]
    hypernyms: tuple[str, ...]
    hyponyms: tuple[str, ...]
    gloss: str

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
    synsets: dict[str, Synset]
    senses: dict[str, tuple[str, ...]]
    gloss_words: Counter[str]
    """How often a word stands in the glosses: a second measure of how common it is."""

    def hyponyms(self, synset: Synset) -> Iterator[Synset]:
        for offset in synset.hyponyms:
            yield self.synsets[offset]

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
    data = folder / "data.noun"
    if not data.is_file():
        raise ConfigError("--wordnet", str(folder), "install the package wordnet-base, or name its folder")
    counts = _read_counts(folder / "cntlist.rev")
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
        word, lex_id = fields[at], int(fields[at + 1], 16)
        lemmas.append(word.replace("_", " ").lower())
        tagged.append(counts.get((word.lower(), lexicographer_file, lex_id), 0))
    pointers = fields[5 + 2 * word_count :]
    related: dict[str, list[str]] = {"@": [], "~": []}
    for at in range(0, len(pointers) - 3, 4):
        symbol, offset, part_of_speech = pointers[at : at + 3]
        if part_of_speech == "n" and symbol in related:
            related[symbol].append(offset)
    return Synset(
        fields[0],
        lexicographer_file,
        tuple(lemmas),
        tuple(tagged),
        tuple(related["@"]),
        tuple(related["~"]),
        gloss.strip(),
    )


def _read_counts(path: Path) -> dict[tuple[str, int, int], int]:
    """``lemma%type:lex_file:lex_id:: sense_number tag_count``, the nouns alone."""
    counts: dict[tuple[str, int, int], int] = {}
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            key, _, count = line.split()
            lemma, _, sense = key.partition("%")
            sense_type, lexicographer_file, lex_id, *_ = sense.split(":")
            if sense_type == NOUN_SENSE_TYPE:
                counts[lemma, int(lexicographer_file), int(lex_id)] = int(count)
    return counts
