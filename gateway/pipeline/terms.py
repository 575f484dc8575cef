"""The terms of an input, found step by step: a small input may list a million of them.

What may be long is a generator that pauses after each full slice of work and returns what it has found, so
that whoever runs it lets others go on in between.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from pydantic import JsonValue

from gateway.errors import InvalidRequest

# The keys under which an object may hold its list of terms, the first found counts.
TERM_LISTS = ("terms", "cluster", "items")
MAX_TERM_WORDS = 8
MAX_LISTED_WORDS = 5
FEWEST_HEADED = 3
"""In one line behind a colon: fewer are a term's gloss, as in `apple: a round, red fruit`."""
BULLET = re.compile(r"^\s*(?:[-*+•·–—]|\(?\d{1,3}[.)])\s+")
GLOSS = re.compile(r":\s+|：\s*|\t+")
COMMAS = re.compile(r"[,;](?=\s|$)\s*|[、，；]\s*")
TIGHT = re.compile(r"(?<=[^\W\d_]{2})[,;](?=[^\W\d_]{2})")
"""Where a line has no other comma: `apple,pear`, and not `N,N-xylidine` or `1,000`."""
SENTENCE_END = (".", "!", "?", "。", "！", "？", "…")
SLICE = 64
"""Terms between two pauses: some tenths of a millisecond."""

T = TypeVar("T")
Steps = Generator[None, None, T]


@dataclass(frozen=True, slots=True)
class Term:
    """One term, perhaps with a short explanation."""

    term: str
    gloss: str | None = None


async def in_slices(steps: Steps[T]) -> T:
    """What the steps come to; whatever else there is to do has its turn after each."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            found: T = end.value
            return found
        await asyncio.sleep(0)


def terms_of(value: JsonValue) -> Steps[list[Term]]:
    """Terms of a JSON input; none where its list is of something else. Raises InvalidRequest for both."""
    terms: list[Term] = []
    other: int | None = None
    for index, element in enumerate(list_of_terms(value) or ()):
        if index % SLICE == SLICE - 1:
            yield
        term = _term(element)
        if term is not None:
            terms.append(term)
        elif other is None:
            other = index
        if terms and other is not None:
            raise InvalidRequest(
                f"element {other} of the list is no term: write a string, or an object with 'term' and "
                "'gloss'",
                param="messages",
            )
    return terms


def list_of_terms(value: JsonValue) -> list[JsonValue] | None:
    """Where a JSON input's terms would stand: itself, or what an object has; None where that is no list."""
    if isinstance(value, dict):
        value = next((value[key] for key in TERM_LISTS if isinstance(value.get(key), list)), None)
    return value if isinstance(value, list) else None


def _term(element: JsonValue) -> Term | None:
    if isinstance(element, str):
        return Term(element.strip())
    if not isinstance(element, dict):
        return None
    term, gloss = element.get("term"), element.get("gloss")
    if not isinstance(term, str) or not (gloss is None or isinstance(gloss, str)):
        return None
    return Term(term.strip(), (gloss or "").strip() or None)


def distinct(terms: Iterable[Term]) -> Steps[tuple[Term, ...]]:
    """Each term once, in the order of first mention; a later gloss serves a term that had none."""
    kept: dict[str, Term] = {}
    for index, term in enumerate(terms):
        if index % SLICE == SLICE - 1:
            yield
        if not term.term:
            continue
        known = kept.get(term.term)
        if known is None or (known.gloss is None and term.gloss is not None):
            kept[term.term] = term
    return tuple(kept.values())


def only(terms: JsonValue, names: Iterable[str]) -> list[JsonValue]:
    """Of the terms that prompts see, those of these names."""
    wanted = set(names)
    listed = terms if isinstance(terms, list) else []
    return [one for one in listed if isinstance(one, dict) and one.get("term") in wanted]


def terms_in_text(text: str) -> Steps[list[Term]]:
    """Terms of plain text: one per line, or one line with commas; prose has none."""
    lines: list[str] = []
    for index, line in enumerate(text.splitlines()):
        if index % SLICE == SLICE - 1:
            yield
        if line.strip():
            lines.append(line)
    if len(lines) == 1 and not BULLET.match(lines[0]):
        line = lines[0].strip()
        colon = GLOSS.search(line)
        listed = yield from _listed_in(line[colon.end() if colon else 0 :])
        if colon is None or len(listed) >= FEWEST_HEADED:
            return listed
    if len(lines) > 1 and lines[0].rstrip().endswith((":", "：")) and not BULLET.match(lines[0]):
        del lines[0]  # a heading
    terms: list[Term] = []
    for index, line in enumerate(lines):
        if index % SLICE == SLICE - 1:
            yield
        name, _, gloss = GLOSS.sub("\0", BULLET.sub("", line).strip(), count=1).partition("\0")
        if not _like_a_term(name.strip(), MAX_TERM_WORDS):
            return []
        terms.append(Term(name.strip(), gloss.strip() or None))
    return terms


def _listed_in(line: str) -> Steps[list[Term]]:
    terms: list[Term] = []
    for index, piece in enumerate(_between_commas(line)):
        if index % SLICE == SLICE - 1:
            yield
        if not (name := piece.strip()):
            continue
        if not _like_a_term(name, MAX_LISTED_WORDS):
            return []
        terms.append(Term(name))
    return terms


def _between_commas(line: str) -> Iterator[str]:
    line = line.rstrip(",; ")
    begin = 0
    for comma in (COMMAS if COMMAS.search(line) else TIGHT).finditer(line):
        yield line[begin : comma.start()]
        begin = comma.end()
    yield line[begin:]


def _like_a_term(text: str, max_words: int) -> bool:
    words = len(text.split(None, max_words))  # of a long text no more is looked at
    return 0 < words <= max_words and not (words > 1 and text.endswith(SENTENCE_END))
