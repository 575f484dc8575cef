"""What of a grammar may explode by itself, each part from its own beginning. Pure.

A walk through the whole may not get to a part: what stands before it may be long, or seldom come. So a
grammar is read as xgrammar itself writes it, whatever it came as: a rule to a line, alternatives of flat
sequences. Of these a part is each rule, and each end of a sequence that begins with what is repeated or with
a rule. It imports the standard library alone, as the program does that loads it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

MOST_PARTS = 2_000
TAG_BYTES = 4  # decimal digits, enough for `MOST_PARTS`
RULE = re.compile(r"^(\S+) ::= (.*)$", re.M)
MARKS = re.compile(r'"(?:\\.|[^"\\])*"|\[(?:\\.|[^\]\\])*\]|\{[^}]*\}|[()|*+?]|[^\s()|"\[{*+?]+')
"""What a line is made of: a text, a class of characters, a count, a sign, a rule's name."""
REPEATS = ("{", "*", "+", "?")


def with_parts(grammar: str) -> tuple[str, str, int]:
    """It with a rule more, that rule's name, and how many parts there are.

    The rule leads to each of them behind its number, in `TAG_BYTES` digits. All are one grammar, since its
    compilation is what costs; an end of a sequence goes on with the next end, so that it grows by no more
    than its own length.
    """
    new = "q"
    while new in grammar:  # whoever wrote it may know how we call ours
        new += "q"
    added, parts = list[str](), list[str]()
    for name, body in RULE.findall(grammar):
        parts.append(name)
        found = sequences(body)
        for sequence in found:
            parts += _ends(sequence, f"{new}_{len(added)}", added, alone=len(found) == 1)
    parts = parts[:MOST_PARTS]
    choices = (f'("{number:0{TAG_BYTES}}" {part})' for number, part in enumerate(parts))
    return "\n".join([grammar, *added, f"{new} ::= ({' | '.join(choices)})\n"]), new, len(parts)


def _ends(sequence: list[str], new: str, added: list[str], *, alone: bool) -> list[str]:
    """Rules for the ends of a sequence; one that is all of its rule is that rule already."""
    begins = [place for place, one in enumerate(sequence) if is_open(one) and (place or not alone)]
    made: list[str] = []
    following, end = "", len(sequence)
    for begin in reversed(begins):
        made.append(f"{new}_{begin}")
        added.append(f"{made[-1]} ::= (({' '.join(sequence[begin:end])} {following}))")
        following, end = made[-1], begin
    return made


def is_open(element: str) -> bool:
    """Whether it may be read in several ways: not one text, and not one character."""
    return element[0] not in '"[' or element.endswith(REPEATS) or element.endswith("}")


def sequences(body: str) -> list[list[str]]:
    """A rule's alternatives, each as what stands in it in a row; none of what is no list of alternatives."""
    found: list[list[str]] = []
    depth = 0
    for mark in MARKS.findall(body):
        if mark == "(":
            depth += 1
            if depth == 2:
                found.append([])
        elif mark == ")":
            depth -= 1
            if depth == 0:
                break  # what follows looks ahead
        elif depth == 2 and mark.startswith(REPEATS) and found[-1]:
            found[-1][-1] += mark
        elif depth == 2 and mark != "|":
            found[-1].append(mark)
    return found


def literals(grammar: str) -> frozenset[int]:
    """Bytes that its texts are made of, or begin with; a few others do no harm."""
    return frozenset(
        byte for mark in MARKS.findall(grammar) if mark[0] == '"' for byte in mark[1:-1].encode()
    )


def patterns(text: str) -> Iterator[str]:
    """Those in a schema or a structural tag: xgrammar writes them as what they are, not as rules."""
    pending = [json.loads(text)]
    seen: dict[str, None] = {}
    while pending:
        one = pending.pop()
        if isinstance(one, dict):
            held = one.get("pattern")
            seen.update({held: None} if isinstance(held, str) else {})
            named = one.get("patternProperties")
            seen.update(dict.fromkeys(named) if isinstance(named, dict) else {})
            pending += one.values()
        elif isinstance(one, list):
            pending += one
    yield from seen
