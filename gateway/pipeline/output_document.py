"""The answer's document, written piece by piece in the order in which it is sent. Pure.

The lists that stages ran over come first, in the order of those stages; then the source's other fields,
sorted by name. In an element the stages' fields come first, in order, then its own, sorted by name. So the
order depends on the configuration alone, and a stream and a whole answer are the same bytes.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping

from pydantic import JsonValue

from gateway.config.document import JsonObject
from gateway.pipeline.compile import Fan

compact = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode
"""JSON without white space between tokens. Raises ValueError for infinities."""


def ordered(element: Mapping[str, JsonValue], fan: Fan) -> JsonObject:
    """An element with its stages' fields first."""
    # A dict keeps the order in which its keys came first, whatever values come later.
    return {**dict.fromkeys((*fan.into, *sorted(element))), **element}


class DocumentWriter:
    """Turns finished elements into text as soon as all before them are written."""

    def __init__(self, fans: tuple[Fan, ...]) -> None:
        self._fans = fans
        self._finished: defaultdict[str, dict[int, JsonObject]] = defaultdict(dict)  # by the list's field
        self._current = 0  # the list that is being written
        self._written = 0  # its elements
        self._opened = False
        self._source: JsonObject | None = None
        self.complete = not fans

    def element(self, fan: Fan, index: int, element: JsonObject) -> str:
        """An element is finished; what can be written now."""
        self._finished[fan.field][index] = ordered(element, fan)
        return self._write()

    def source(self, document: JsonObject) -> str:
        """The source stage is finished; what can be written now."""
        self._source = document
        return self._write()

    def _write(self) -> str:
        parts: list[str] = []
        while not self.complete:
            fan = self._fans[self._current]
            finished = self._finished[fan.field]
            while self._written in finished:
                parts.append(self._open(fan) if not self._opened else ",")
                parts.append(compact(finished.pop(self._written)))
                self._written += 1
            elements = self._source.get(fan.field) if self._source is not None else None
            if not isinstance(elements, list) or self._written < len(elements):
                break
            if not self._opened:
                parts.append(self._open(fan))
            parts.append("]")
            self._current, self._written, self._opened = self._current + 1, 0, False
            self.complete = self._current == len(self._fans)
            if self.complete and self._source is not None:
                parts.append(self._rest(self._source))
        return "".join(parts)

    def _open(self, fan: Fan) -> str:
        self._opened = True
        return f"{'{' if self._current == 0 else ','}{compact(fan.field)}:["

    def _rest(self, document: JsonObject) -> str:
        rest = dict(sorted(document.items()))
        for fan in self._fans:
            rest.pop(fan.field, None)
        return f",{compact(rest)[1:]}" if rest else "}"
