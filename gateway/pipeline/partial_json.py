"""Elements of a list inside a JSON object, each as soon as it is closed, while the text still streams.

Every character is looked at once and every element parsed once, so a long answer costs its length and not
its square, as parsing the whole text again at every piece would (jiter's partial mode does).
"""

from __future__ import annotations

import re
from collections.abc import Collection

import jiter
from pydantic import JsonValue

from gateway.config.document import JsonObject

STRUCTURE = re.compile(r'["{}\[\],:]')
STRING_STOP = re.compile(r'["\\]')
OBJECT, LIST = 1, 2  # depth within the document's object, and within one of its lists


class ElementScanner:
    """Follows one object and yields the elements of its top-level lists named in `fields`.

    Text before the object's `{` and after its `}` is passed over, so that a fence around it does no harm.
    """

    def __init__(self, fields: Collection[str]) -> None:
        self._fields = frozenset(fields)
        self._yielded = dict.fromkeys(fields, 0)
        self._document: list[str] = []
        self._depth = 0
        self._over = False
        self._in_string = False
        self._escaped = False
        self._field: str | None = None  # the list that is open
        self._key = ""
        self._kept: list[str] = []  # the open element, or the open string at the object's own level

    def feed(self, piece: str) -> list[tuple[str, JsonValue]]:
        """The (field, element) pairs that `piece` closes. Raises ValueError where one is not JSON."""
        if self._over:
            return []
        at = 0
        if self._depth == 0:
            at = piece.find("{") + 1
            if at == 0:
                return []
            self._depth = OBJECT
            piece, at = piece[at - 1 :], 1
        closed: list[tuple[str, JsonValue]] = []
        kept_from = at
        while (stop := self._next_stop(piece, at)) is not None:
            at, mark = stop
            if mark == "\\":
                continue
            if self._depth == OBJECT:
                kept_from = self._in_object(mark, piece, kept_from, at)
                if self._over:
                    break
            else:
                kept_from = self._in_value(mark, piece, kept_from, at, closed)
        if self._over:
            self._document.append(piece[:at])
        else:
            self._document.append(piece)
            self._kept.append(piece[kept_from:])
        return closed

    def _next_stop(self, piece: str, at: int) -> tuple[int, str] | None:
        """The next character that matters and the position after it; follows strings and escapes."""
        if self._escaped and at < len(piece):
            self._escaped = False
            at += 1
        found = (STRING_STOP if self._in_string else STRUCTURE).search(piece, at)
        if found is None:
            return None
        if found[0] == "\\":
            self._escaped = True
        elif found[0] == '"':
            self._in_string = not self._in_string
        return found.end(), found[0]

    def _take(self, piece: str, start: int, end: int) -> str:
        text = "".join([*self._kept, piece[start:end]])
        self._kept.clear()
        return text

    def _in_object(self, mark: str, piece: str, start: int, at: int) -> int:
        """One mark at the object's own level; returns where the kept text goes on."""
        text = self._take(piece, start, at)
        if mark == '"':
            if self._in_string:
                self._kept.append('"')
            else:
                self._key = text
        elif mark in "{[":
            self._depth += 1
            key = _parsed(self._key) if mark == "[" and self._key else None
            self._field = key if isinstance(key, str) and key in self._fields else None
        elif mark == "}":
            self._over = True
        elif mark == ",":
            self._key = ""
        return at

    def _in_value(
        self, mark: str, piece: str, start: int, at: int, closed: list[tuple[str, JsonValue]]
    ) -> int:
        """One mark inside a value of the object; returns where the kept text goes on."""
        if mark in "{[":
            self._depth += 1
        elif mark in "}]":
            self._depth -= 1
        if self._field is None:
            self._kept.clear()  # nothing inside this value is asked for
            return at
        if self._depth == OBJECT:  # the list is closed
            self._yield(self._take(piece, start, at - 1), closed)
            self._field = None
        elif self._depth == LIST and mark == ",":
            self._yield(self._take(piece, start, at - 1), closed)
        elif self._depth == LIST and (mark in "}]" or (mark == '"' and not self._in_string)):
            self._yield(self._take(piece, start, at), closed)
        else:
            return start
        return at

    def _yield(self, text: str, closed: list[tuple[str, JsonValue]]) -> None:
        if self._field is not None and text.strip():
            self._yielded[self._field] += 1
            closed.append((self._field, _parsed(text)))

    def finish(self) -> JsonObject:
        """The whole object. Raises ValueError where the text is none, or disagrees with what was yielded."""
        if not self._over:
            raise ValueError("the JSON object is not closed")
        document = _parsed("".join(self._document))
        if not isinstance(document, dict):
            raise ValueError("the answer is no JSON object")
        for field, count in self._yielded.items():
            elements = document.get(field)
            if not isinstance(elements, list):
                raise ValueError(f"the answer has no list '{field}'")
            if len(elements) != count:
                raise ValueError(f"the list '{field}' is written twice")
        return document


def _parsed(text: str) -> JsonValue:
    value: JsonValue = jiter.from_json(text.encode(), allow_inf_nan=False)
    return value
