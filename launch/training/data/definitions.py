"""WordNet's glosses as definitions of a bounded length: a clause that may break off, or a whole sentence."""

from __future__ import annotations

import re

SENTENCE_WORDS = 16
"""The longest sentence; 94 of 100 of WordNet's first clauses have no more."""
_OPENS_CLAUSE = frozenset(
    re.findall(
        r"\w+",
        "that which who whose whom where when as of for from in on at by with to into and or but used having "
        "being than through under over between without especially usually designed",
    )
)
FUNCTION_WORDS = frozenset(
    re.findall(
        r"\w+",
        "a an the of or and in on to for with by as at from that which who whose is are be used "
        "especially usually",
    )
)


def first_clause(text: str) -> list[str]:
    """The words before the first mark that ends a clause."""
    return re.split(r"[;:,]", text, maxsplit=1)[0].split()


def shorten(text: str, words: int) -> str:
    """The first clause in at most `words` words, not ending in a word that promises more."""
    kept = first_clause(text)
    if len(kept) > words:
        kept = kept[:words]
        while len(kept) > 2 and kept[-1].lower() in FUNCTION_WORDS:
            kept.pop()
    return " ".join(kept)


def sentence(text: str, words: int = SENTENCE_WORDS) -> str:
    """The first clause as a sentence of at most `words` words, with a capital and a full stop.

    A longer one ends before the last word within the bound that opens a further clause, so that it does not
    break off in the middle of one; only where none does, after the bound's last word.
    """
    kept = first_clause(text)
    if len(kept) > words:
        ends = [at for at in range(3, words + 1) if kept[at].lower() in _OPENS_CLAUSE]
        kept = kept[: ends[-1] if ends else words]
    while len(kept) > 2 and kept[-1].lower() in FUNCTION_WORDS:
        kept.pop()
    said = " ".join(kept).strip(" .")
    return f"{said[:1].upper()}{said[1:]}."
