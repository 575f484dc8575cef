"""Every term of an input in exactly one element of a list, whatever a model writes. Pure.

No schema can say it: what a later element may hold depends on all before it. So it is settled while the
elements come, and none that was given is touched again: an element loses the terms that an earlier one has,
and is left out where it has no other; terms that stand in none are asked for once more, among themselves,
and make elements of their own at the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal

from gateway.pipeline.settling.spelling import folded

if TYPE_CHECKING:
    from pydantic import JsonValue

    from gateway.config.document import JsonObject  # the Python API settles too, and has no configuration

Was = Literal["repeated", "left out", "no term"]


class Partition:
    """The elements so far, and the terms that stand in none of them."""

    def __init__(self, terms: Iterable[str], members: str, most: int) -> None:
        """`terms`: each once; none where the input has none, and then any text is a term of its own.

        `members`: the field of an element that lists its terms. `most`: elements that there may be.
        """
        terms = list(terms)
        self._members = members
        self._most = most
        self._left = dict.fromkeys(terms)
        self._any = not self._left
        self._taken: set[str] = set()
        self._spelled: dict[str, list[str]] | None = None
        self._held: JsonObject | None = None
        self._said: dict[tuple[str, Was], JsonValue] = {}
        self.elements: list[JsonValue] = []
        """As they were settled, without what later stages add."""
        self.seen = 0
        """Elements that were there to take."""

    @property
    def left(self) -> Sequence[str]:
        """The terms that stand in no element, in the order of the input."""
        return list(self._left)

    @property
    def asks(self) -> bool:
        """Whether what is left shall be asked for: some is, and there is room for elements of its own."""
        return bool(self._left) and self._held is None

    @property
    def settled(self) -> list[JsonValue]:
        """What was done, for the client: `{"term": …, "was": "repeated"}`, each once."""
        return list(self._said.values())

    def take(self, element: JsonObject) -> JsonObject | None:
        """The element as it counts. None where nothing is left of it, or it is held for what is left over."""
        self.seen += 1
        members = self._new(element.get(self._members))
        if not members or len(self.elements) == self._most:
            self._put_back(members)
            return None
        item: JsonObject = {**element, self._members: members}
        # A copy: later stages fill the item that goes out.
        self.elements.append(dict(item))
        if len(self.elements) == self._most and self._left:
            self._held = item  # the last that there may be: it takes what no other has
            return None
        return item

    def close(self, more: Sequence[JsonObject]) -> list[JsonObject]:
        """The elements that are still to come, of those that the terms left over were given in.

        After it every term stands in exactly one element, unless there is none at all: neither one before,
        nor one in `more`.
        """
        for term in self._left:
            self._say(term, "left out")
        if self._held is not None:
            return [self._filled(self._held)]
        last: list[JsonObject] = []
        for element in more:
            item = self.take(element)
            if self._held is not None:
                return [*last, self._filled(self._held)]
            if item is not None:
                last.append(item)
        if not self._left:
            return last
        if not last and more and len(self.elements) < self._most:  # it named nothing that was asked for
            last.append({**more[0], self._members: []})
            self.elements.append(dict(last[0]))
        return [*last[:-1], self._filled(last[-1])] if last else []

    def _new(self, members: JsonValue) -> list[JsonValue]:
        """Those that no element has yet, in the input's spelling; from here on this one has them."""
        new: list[JsonValue] = []
        for member in members if isinstance(members, list) else []:
            term = self._term(member)
            if term is None:
                continue
            self._left.pop(term, None)
            self._taken.add(term)
            new.append(term)
        return new

    def _term(self, member: JsonValue) -> str | None:
        """The term that a member is and that is still to be had."""
        if not isinstance(member, str):
            self._say(str(member), "no term")
        elif member in self._left or (self._any and member not in self._taken):
            return member
        elif member in self._taken:
            self._say(member, "repeated")
        elif (same := self._same(member)) is not None:
            return same
        else:
            self._say(member, "no term")
        return None

    def _same(self, member: str) -> str | None:
        """A term left that is the same word in another spelling."""
        if self._spelled is None:
            self._spelled = {}
            for term in (*self._taken, *self._left):
                self._spelled.setdefault(folded(term), []).append(term)
        ways = self._spelled.get(folded(member), ())
        return next((term for term in ways if term in self._left), None)

    def _put_back(self, members: Iterable[JsonValue]) -> None:
        """They were found in an element that cannot be had; the input's order is not kept among them."""
        for member in members:
            self._taken.discard(str(member))
            if not self._any:
                self._left[str(member)] = None

    def _filled(self, item: JsonObject) -> JsonObject:
        """The element with all that is left, where it stands among the settled ones too."""
        members = item[self._members]
        whole: list[JsonValue] = [*(members if isinstance(members, list) else []), *self._left]
        self._left.clear()
        item[self._members] = whole
        self.elements[-1] = dict(item)
        return item

    def _say(self, term: str, was: Was) -> None:
        self._said.setdefault((term, was), {"term": term, "was": was})
