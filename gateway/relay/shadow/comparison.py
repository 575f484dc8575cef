"""Two answers to one request, the client's and a candidate's: read, and held against each other. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from gateway.dialects.chat.said import Reader, Said, parsed
from gateway.dialects.dialect import Dialect
from gateway.errors import NOT_JSON
from gateway.http.event_stream import EventStream, data_in

MAX_TEXT_BYTES = 256 * 1024
"""A longer answer is not compared."""
MAX_RAW_BYTES = 1024 * 1024
"""Of a whole answer in JSON."""
MAX_PATHS = 20
MAX_DEPTH = 16
PLAIN_KEY = re.compile(r"^[A-Za-z_][A-Za-z0-9_-]{0,39}$")
"""Any other key may be text of the answer, which is nobody's to keep: it is shown as `*`."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Where two answers differ; both empty where they are the same."""

    structured: bool
    """Both are JSON objects or lists."""
    paths: tuple[str, ...] = ()
    """Such as `concepts[0].name`; `concepts.length` where lists differ in length. The first few."""
    same: bool = True


def read_answer(body: bytes, seconds: float, dialect: Dialect) -> Said | None:
    """A whole answer's text, of several the first; None where it has none, or is too long."""
    try:
        said = _reader(dialect).whole(body)
    except NOT_JSON:
        return None
    return _bounded(said, seconds)


def _reader(dialect: Dialect) -> Reader:
    assert dialect.conversion is not None  # else nothing is compared
    return dialect.conversion.reader()


def _bounded(said: Said | None, seconds: float) -> Said | None:
    return None if said is None or len(said.text) > MAX_TEXT_BYTES else replace(said, seconds=seconds)


class Gathered:
    """A client's own answer, kept as it passes, up to a bound."""

    __slots__ = ("_body", "_dialect", "_events", "_reader", "usable")

    def __init__(self, streamed: bool, dialect: Dialect) -> None:
        self._dialect = dialect
        self._events = EventStream(False) if streamed else None
        self._reader = _reader(dialect)
        self._body = bytearray()
        self.usable = True
        """False where it is too long, or cannot be read."""

    def feed(self, piece: bytes) -> None:
        """The next bytes that went to the client."""
        if not self.usable or not piece:
            return
        if self._events is None:
            self._body += piece
            self.usable = len(self._body) <= MAX_RAW_BYTES
        else:
            self._read(self._events.feed(piece))
            self.usable = self.usable and not self._events.broken
        if not self.usable:
            self._body, self._reader = bytearray(), _reader(self._dialect)

    def answer(self, seconds: float) -> Said | None:
        """At its end; None where it is no whole answer that can be compared."""
        if not self.usable:
            return None
        if self._events is None:
            return read_answer(bytes(self._body), seconds, self._dialect)
        return _bounded(self._reader.said(), seconds)

    def _read(self, events: bytes) -> None:
        try:
            for data in data_in(events):
                self._reader.feed(data)
        except NOT_JSON:
            self.usable = False
        if self._reader.failed or self._reader.size > MAX_TEXT_BYTES:
            self.usable = False


def compare(own: str, other: str) -> Difference:
    """Field by field where both are JSON objects or lists; else by their text."""
    ours, theirs = parsed(own), parsed(other)
    structured = isinstance(ours, dict | list) and isinstance(theirs, dict | list)
    if not structured:
        return Difference(False, same=own == other)
    paths: list[str] = []
    for path in _differing(ours, theirs, "", 0):
        paths.append(path or "$")
        if len(paths) == MAX_PATHS:
            break
    return Difference(True, tuple(paths), same=not paths)


def _differing(ours: object, theirs: object, path: str, depth: int) -> Iterator[str]:
    if isinstance(ours, dict) and isinstance(theirs, dict) and depth < MAX_DEPTH:
        for key in dict.fromkeys([*ours, *theirs]):
            shown = key if PLAIN_KEY.match(key) else "*"
            below = f"{path}.{shown}" if path else shown
            if key in ours and key in theirs:
                yield from _differing(ours[key], theirs[key], below, depth + 1)
            else:
                yield below
    elif isinstance(ours, list) and isinstance(theirs, list) and depth < MAX_DEPTH:
        if len(ours) != len(theirs):
            yield f"{path}.length" if path else "length"
        for index, (one, other) in enumerate(zip(ours, theirs, strict=False)):
            yield from _differing(one, other, f"{path}[{index}]", depth + 1)
    elif isinstance(ours, bool) is not isinstance(theirs, bool) or ours != theirs:  # True is no 1
        yield path
