"""Elements of a list inside a JSON object, each as soon as it is closed, while the text still streams.

Every character is looked at once and every element parsed once, so a long answer costs its length and not
its square, as parsing the whole text again at every piece would (jiter's partial mode does).
"""

from __future__ import annotations

import io
import re
from collections.abc import Collection
from functools import partial

import jiter
from pydantic import JsonValue

from gateway.config.document import JsonObject

STRUCTURE = re.compile(r'["{}\[\],]')
STRING_STOP = re.compile(r'["\\]')
OBJECT, LIST = 1, 2  # depth within the document's object, and within one of its lists

_parsed = partial(jiter.from_json, allow_inf_nan=False)


class ElementScanner:
    """Follows one object and yields the elements of its top-level lists named in `fields`.

    Text before the object's `{` and after its `}` is passed over, so that a fence around it does no harm.
    """

    def __init__(self, fields: Collection[str]) -> None:
        self._yielded = dict.fromkeys(fields, 0)
        # A str would be copied whole with each piece, and there is one for each token.
        self._document = io.StringIO()
        self._begun_at = 0  # in the document: the open element, or the open string at the object's own level
        self._depth = 0
        self._over = False
        self._in_string = False
        self._escaped = False
        self._field: str | None = None  # the list that is open
        self._key = ""

    def feed(self, piece: str) -> list[tuple[str, JsonValue]]:
        """The (field, element) pairs that `piece` closes. Raises ValueError where one is not JSON."""
        if self._over:
            return []
        closed: list[tuple[str, JsonValue]] = []
        at = 0
        if self._depth == 0:
            begin = piece.find("{")
            if begin < 0:
                return []
            self._depth = OBJECT
            piece, at = piece[begin:], 1
        before = self._document.tell()
        self._document.write(piece)
        while not self._over:
            if self._escaped and at < len(piece):
                self._escaped, at = False, at + 1
            found = (STRING_STOP if self._in_string else STRUCTURE).search(piece, at)
            if found is None:
                break
            mark, at = found[0], found.end()
            if mark == "\\":
                self._escaped = True
                continue
            if mark == '"':
                self._in_string = not self._in_string
            if self._depth == OBJECT:
                self._in_object(mark, before + at)
                continue
            if mark in "{[":
                self._depth += 1
            elif mark in "}]":
                self._depth -= 1
            if self._depth > LIST or self._field is None:  # within an element, or a value that is no list
                continue
            if (element := self._in_list(mark, before + at)) is not None:
                closed.append(element)
        if self._over:
            self._document.truncate(before + at)
        return closed

    def _in_object(self, mark: str, end: int) -> None:
        """One mark at the object's own level, which ends at `end` in the document."""
        if mark == '"' and self._in_string:
            self._begun_at = end - 1
        elif mark == '"':
            # Perhaps a value: then a ',' or '}' follows, and no list.
            self._key = self._text(end)
        elif mark in "{[":
            self._depth += 1
            self._begun_at = end
            # Parsed: a name may be written with escapes.
            key = _parsed(self._key.encode()) if mark == "[" and self._key else None
            self._field = key if isinstance(key, str) and key in self._yielded else None
        elif mark == "}":
            self._over = True
        elif mark == ",":
            self._key = ""

    def _in_list(self, mark: str, end: int) -> tuple[str, JsonValue] | None:
        """One mark between the elements of a list, or at the end of one; the element that it closes."""
        field = self._field
        assert field is not None
        if mark == "," or self._depth == OBJECT:
            last = end - 1
        elif mark in "}]" or (mark == '"' and not self._in_string):
            last = end
        else:
            return None
        text = self._text(last) if last > self._begun_at else ""
        self._begun_at = end
        if self._depth == OBJECT:  # the list is closed
            self._field = None
        if not text.strip():
            return None
        self._yielded[field] += 1
        return field, _parsed(text.encode())

    def _text(self, end: int) -> str:
        """Of the document, what has begun; up to `end`."""
        self._document.seek(self._begun_at)
        text = self._document.read(end - self._begun_at)
        self._document.seek(0, io.SEEK_END)
        return text

    def finish(self) -> JsonObject:
        """The whole object. Raises ValueError where the text is none, or disagrees with what was yielded."""
        if not self._over:
            raise ValueError("the JSON object is not closed")
        # Only marks were looked at until now: what is no JSON between them shows here.
        document = _parsed(self._document.getvalue().encode())
        if not isinstance(document, dict):
            raise ValueError("the answer is no JSON object")
        for field, count in self._yielded.items():
            elements = document.get(field)
            if not isinstance(elements, list):
                raise ValueError(f"the answer has no list '{field}'")
            if len(elements) != count:
                raise ValueError(f"the list '{field}' is written twice")
        return document
